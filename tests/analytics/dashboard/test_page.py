"""The page in a real browser: its content, by mouse and keyboard, in light and dark."""

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
    """Open an address: `read(url, color_scheme="dark")`. At the end, the page must not have had an error."""
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
def test_totals_charts_and_calls_are_shown(read: Open, dashboard: Dashboard, scheme: str) -> None:
    """Twelve calls, counted and drawn, readable in light and dark, loaded from no other host."""
    reader = read(f"{dashboard.url}?time=all", color_scheme=scheme)
    totals = reader.totals()
    assert (totals["Calls"], totals["Failed"], totals["First token, median"]) == ("12", "16.7%", "200 ms")
    assert reader.calls() == 12
    charts = reader.page.locator("#charts svg")
    expect(charts).to_have_count(4)
    bars = reader.page.locator("figure").first.locator(".mark-rect.role-mark path")
    expect(bars).to_have_count(6)  # four bars, one with three outcomes
    assert reader.hosts == {f"127.0.0.1:{dashboard.port}"}
    reader.picture(f"calls-{scheme}")
    background = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert (red > 200) == (scheme == "light")


def test_filters_apply_and_are_kept_in_the_address(read: Open, dashboard: Dashboard) -> None:
    """The selection applies to everything shown, is in the address, survives a reload, and can be undone."""
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


def test_a_call_opens_by_keyboard(read: Open, dashboard: Dashboard) -> None:
    """Tab to the calls, down two, Enter: timeline and record; right for the next; Escape returns to the row."""
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


def test_attempts_are_noted_at_the_queue(read: Open, tmp_path: Path) -> None:
    """For a call that needed three requests upstream, the timeline says so where their time went."""
    add(tmp_path, line(1, attempts=3), line(2, attempts=1), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all#call={1:032x}")
        expect(reader.page.locator(".timeline .queue")).to_contain_text("3 requests were sent upstream in this time")
        reader.page.keyboard.press("ArrowLeft")
        expect(reader.page.get_by_role("dialog").get_by_text("answer 2", exact=True)).to_be_visible()
        assert "requests were sent" not in reader.page.locator(".timeline").inner_text()


def test_attempts_are_drawn_at_their_time(read: Open, tmp_path: Path) -> None:
    """A record that lists its requests upstream has a bar for each, up to the next one or the first chunk."""
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


def test_a_button_shows_older_calls(read: Open, tmp_path: Path) -> None:
    """A hundred at first, the rest on request; they stay when newer ones arrive. At the end the button disappears."""
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
    """An address with #call opens it; an unknown call is reported."""
    reader = read(f"{dashboard.url}?time=all#call={7:032x}")
    expect(reader.page.get_by_role("dialog")).to_contain_text("slow down")
    link = reader.page.get_by_role("dialog").get_by_role("link")
    assert str(link.get_attribute("href")).startswith("https://portal.azure.com/")
    reader.faults.clear()
    reader = read(f"{dashboard.url}#call=none")
    expect(reader.page.get_by_role("dialog")).to_contain_text("no such call")
    assert [fault for fault in reader.faults if "404" not in fault] == []
    reader.faults.clear()


def test_records_are_shown_as_text(read: Open, tmp_path: Path) -> None:
    """Markup anywhere in a record is shown literally and has no effect."""
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


def test_missing_content_is_reported(read: Open, tmp_path: Path) -> None:
    """A record without content says so; an interrupted call has no timeline to draw."""
    add(tmp_path, line(1, content="", content_captured=False, status="interrupted", latency_ms=None), first=0)
    with Dashboard(tmp_path) as running:
        dialog = read(f"{running.url}#call={1:032x}").page.get_by_role("dialog")
        expect(dialog).to_contain_text("they were not captured")
        expect(dialog).to_contain_text("its end is unknown")
        assert dialog.locator(".text").count() == 0


def test_new_calls_appear_by_themselves(read: Open, tmp_path: Path) -> None:
    """An empty table says so; calls written then appear without a reload, also in an open table of figures."""
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


def test_a_narrow_page_does_not_scroll_sideways(read: Open, dashboard: Dashboard) -> None:
    """At 420 pixels only the table of calls is wider than the page, and scrolls by itself."""
    reader = read(f"{dashboard.url}?time=all", viewport={"width": 420, "height": 900})
    reader.picture("narrow")
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 420


def test_a_lost_server_is_reported(read: Open, tmp_path: Path) -> None:
    """The page keeps its content and says that the server does not respond."""
    add(tmp_path, line(1), first=0)
    with Dashboard(tmp_path) as running:
        reader = read(f"{running.url}?time=all")
    expect(reader.page.get_by_role("alert")).to_contain_text("does not respond")
    assert reader.calls() == 1
    reader.faults.clear()
