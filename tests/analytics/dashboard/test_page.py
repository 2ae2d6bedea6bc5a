"""The page as somebody reads it, in a real browser: what is seen, by mouse and by keyboard, in light and dark."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.analytics.dashboard.browser import Reader, chromium
from tests.analytics.dashboard.serving import Dashboard, add
from tests.analytics.kit import line

pytestmark = pytest.mark.heavy

type Open = Callable[..., Reader]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def read(browser: Browser) -> Iterator[Open]:
    """Open an address: `read(url, color_scheme="dark")`; at the end nothing may have gone wrong in the page."""
    readers: list[Reader] = []
    contexts = []

    def opened(url: str, **options: object) -> Reader:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(60_000)
        contexts.append(context)
        readers.append(Reader(context, url))
        return readers[-1]

    yield opened
    for context in contexts:
        context.close()
    assert [fault for reader in readers for fault in reader.faults] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_shows_numbers_charts_and_calls(read: Open, dashboard: Dashboard, scheme: str) -> None:
    """Twelve calls, counted and drawn, readable in light and in dark, from no host but its own."""
    reader = read(f"{dashboard.url}?time=all", color_scheme=scheme)
    totals = reader.totals()
    assert (totals["Calls"], totals["Failed"], totals["First token, median"]) == ("12", "16.7%", "200 ms")
    assert reader.calls() == 12
    charts = reader.page.locator("#charts svg")
    expect(charts).to_have_count(4)
    bars = reader.page.locator("figure").first.locator(".mark-rect.role-mark path")
    expect(bars).to_have_count(6)  # four bars, one of them of three outcomes
    assert reader.hosts == {f"127.0.0.1:{dashboard.port}"}
    reader.picture(f"calls-{scheme}")
    background = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert (red > 200) == (scheme == "light")


def test_filters_narrow_and_are_kept_in_the_address(read: Open, dashboard: Dashboard) -> None:
    """What is chosen narrows all that is shown, is in the address, survives a reload, and can be undone."""
    reader = read(f"{dashboard.url}?time=all")
    page = reader.page
    page.locator("[name=region]").select_option("=Japan East")
    expect(page.locator("#calls tbody tr")).to_have_count(3)
    page.locator("[name=deployment]").select_option("=mini")
    expect(page.locator("#calls tbody tr")).to_have_count(2)
    assert "region=Japan+East" in page.url
    page.reload()
    expect(page.locator("#calls tbody tr")).to_have_count(2)
    assert page.locator("[name=region]").input_value() == "=Japan East"
    page.go_back()
    expect(page.locator("#calls tbody tr")).to_have_count(3)
    page.locator("[name=deployment]").select_option("")
    page.locator("[name=by]").select_option("user_id")
    page.locator("[name=caller]").select_option("=bob")
    expect(page.locator("#calls tbody tr")).to_have_count(3)
    page.locator("[name=time]").select_option("between")
    page.locator("[name=since]").fill("2024-11-14T06:59:31")
    expect(page.get_by_role("heading", name="No calls in this selection")).to_be_visible()
    page.get_by_role("button", name="Show all calls").click()
    expect(page.locator("#calls tbody tr")).to_have_count(12)


def test_one_call_by_keyboard_alone(read: Open, dashboard: Dashboard) -> None:
    """Tab to the calls, down two, Enter: time line and record; right for the next; Escape, and back where one was."""
    reader = read(f"{dashboard.url}?time=all")
    page = reader.page
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#calls') !== null"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    chosen = page.evaluate("document.activeElement.closest('tr').dataset.id")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text("chat · mini · completed")
    assert chosen in page.url
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", level=2)).to_have_text("chat · gpt-4o · completed")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_text("answer 8", exact=True)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_text("answer 9", exact=True)).to_be_visible()
    phases = dialog.locator(".timeline li")
    assert phases.locator("span:first-child").all_text_contents() == [
        "Queue, to first chunk",
        "To first token",
        "Streaming, to the end",
        "Whole call",
    ]
    assert phases.locator(".span").all_text_contents() == ["80 ms", "100 ms", "8.82 s", "9.00 s"]
    writing = phases.nth(2).locator(".bar").bounding_box()
    whole = phases.nth(3).locator(".bar").bounding_box()
    assert writing
    assert whole
    assert writing["width"] / whole["width"] == pytest.approx(8820 / 9000, abs=0.01)
    reader.picture("call")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.wait_for_function("id => document.activeElement.closest('tr')?.dataset.id === id", arg=chosen)


def test_attempts_are_told_beside_the_queue(read: Open, tmp_path: Path) -> None:
    """Of a call that needed three requests upstream the time line says so, where their time went."""
    add(tmp_path, line(1, attempts=3), line(2, attempts=1), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all#call={1:032x}")
        expect(reader.page.locator(".timeline .queue")).to_contain_text("3 requests were sent upstream in this time")
        reader.page.keyboard.press("ArrowLeft")
        expect(reader.page.get_by_role("dialog").get_by_text("answer 2", exact=True)).to_be_visible()
        assert "requests were sent" not in reader.page.locator(".timeline").inner_text()


def test_attempts_are_drawn_where_they_were_made(read: Open, tmp_path: Path) -> None:
    """A record that tells of each request upstream has a bar for each, up to the next one or the first chunk."""
    made = [
        {"backend": "eu", "after_ms": 0, "http_status": 429},
        {"backend": "us", "after_ms": 20},
        {"backend": "asia", "after_ms": 50, "http_status": 200},
    ]
    add(tmp_path, line(1, attempts=3, attempts_made=made), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all#call={1:032x}")
        tries = reader.page.locator(".timeline .attempt")
        expect(tries).to_have_count(3)
        assert tries.locator("span:first-child").all_text_contents() == ["1. eu", "2. us", "3. asia"]
        assert tries.locator(".span").all_text_contents() == ["20 ms", "30 ms", "50 ms"]
        assert tries.locator(".note").all_text_contents() == ["HTTP 429", "no response", "HTTP 200"]
        reader.picture("attempts")


def test_older_calls_are_a_button_away(read: Open, tmp_path: Path) -> None:
    """A hundred at first, the rest on asking; they stay while newer ones come, and then there is nothing to ask for."""
    add(tmp_path, *(line(number) for number in range(150)), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all")
        rows, older = reader.page.locator("#calls tbody tr"), reader.page.get_by_role("button", name="Show older calls")
        expect(rows).to_have_count(100)
        older.click()
        expect(rows).to_have_count(150)
        add(tmp_path, line(150), first=150)
        expect(rows).to_have_count(151)
        older.click()
        expect(older).to_be_hidden()
        assert rows.evaluate_all("rows => new Set(rows.map(row => row.dataset.id)).size") == 151


def test_a_call_can_be_linked_to(read: Open, dashboard: Dashboard) -> None:
    """An address with #call opens it; one that is not there is said to be missing."""
    reader = read(f"{dashboard.url}?time=all#call={7:032x}")
    expect(reader.page.get_by_role("dialog")).to_contain_text("slow down")
    link = reader.page.get_by_role("dialog").get_by_role("link")
    assert str(link.get_attribute("href")).startswith("https://portal.azure.com/")
    reader.faults.clear()
    reader = read(f"{dashboard.url}#call=none")
    expect(reader.page.get_by_role("dialog")).to_contain_text("no such call")
    assert [fault for fault in reader.faults if "404" not in fault] == []
    reader.faults.clear()


def test_records_are_text(read: Open, tmp_path: Path) -> None:
    """Markup in whatever a record holds is shown as it is written, and nothing of it acts."""
    caller = dict.fromkeys(("subscription_id", "product", "user_id", "app_id"), HOSTILE)
    names = dict.fromkeys(("model", "deployment", "region", "operation", "finish_reason"), HOSTILE)
    parts = [{"type": "text", "text": HOSTILE}, {"type": HOSTILE}]
    add(
        tmp_path,
        line(1, prompt=[{"role": HOSTILE, "content": parts}], content=HOSTILE, caller=caller, **names),
        line(2, prompt=HOSTILE, error={"code": HOSTILE, "message": HOSTILE}, status="upstream_error", caller=caller),
        first=0,
    )
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all")
        page = reader.page
        page.locator("[name=caller]").select_option(f"={HOSTILE}")
        for summary in page.locator("figure summary").all():
            summary.click()
        for chart in page.locator("#charts svg").all():
            chart.hover()
        for number in (1, 2):
            page.evaluate(f"location.hash = '#call={number:032x}'")
            expect(page.get_by_role("dialog").locator("pre", has_text=HOSTILE).first).to_be_visible()
        reader.picture("hostile")
        assert page.locator("img, #calls script, dialog script").count() == 0
        assert page.title() == "Calls"


def test_what_was_not_captured_is_said(read: Open, tmp_path: Path) -> None:
    """A record without content shows none, and says so; an interrupted one has no time line to draw."""
    add(tmp_path, line(1, content="", content_captured=False, status="interrupted", latency_ms=None), first=0)
    with Dashboard(tmp_path) as running:
        dialog = read(f"{running.url}#call={1:032x}").page.get_by_role("dialog")
        expect(dialog).to_contain_text("they were not captured")
        expect(dialog).to_contain_text("its end is unknown")
        assert dialog.locator(".text").count() == 0


def test_an_empty_table_fills(read: Open, tmp_path: Path) -> None:
    """Without a call it says so; what is written then is there soon, unasked for, and opened figures follow."""
    with Dashboard(tmp_path / "none yet") as running:
        reader = read(f"{running.url}?time=all")
        page = reader.page
        expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
        reader.picture("empty")
        add(tmp_path / "none yet", line(1), first=0)
        expect(page.locator("#calls tbody tr")).to_have_count(1)
        page.locator("figure summary").first.click()
        page.locator("#calls button").first.focus()
        add(tmp_path / "none yet", line(2), line(3), first=1)
        expect(page.locator("#calls tbody tr")).to_have_count(3)
        expect(page.locator("figure details td").nth(1)).to_have_text("3")
        assert page.evaluate("document.activeElement.closest('tr').dataset.id") == f"{1:032x}"


def test_a_narrow_page_has_all(read: Open, dashboard: Dashboard) -> None:
    """On 420 pixels nothing is wider than the page but the table of calls, which scrolls by itself."""
    reader = read(f"{dashboard.url}?time=all", viewport={"width": 420, "height": 900})
    reader.picture("narrow")
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 420


def test_a_server_that_is_gone_is_told(read: Open, tmp_path: Path) -> None:
    """What was seen stays, with a line that says the server does not answer."""
    add(tmp_path, line(1), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all")
    expect(reader.page.get_by_role("alert")).to_contain_text("does not respond")
    assert reader.calls() == 1
    reader.faults.clear()
