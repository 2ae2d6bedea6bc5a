"""The tables that price calls: what your CSVs may say, and what is said of an error in them."""

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from analytics.prices import budgets, deployments, rates
from analytics.prices.listed import lines
from analytics.prices.price import ALWAYS, COLUMNS, LISTED, NEVER, OPTIONAL, Price, read
from tests.analytics.kit import run

DAY = datetime(2026, 11, 1)
HEADER = ",".join((*COLUMNS, *OPTIONAL))


def written(directory: Path, text: str) -> Path:
    file = directory / "own.csv"
    file.write_text(text)
    return file


def rate(own: Path | None, model: str, what: str, at: datetime = DAY, prompt: int = 0, **keys: str) -> float | None:
    """US dollars for a million, as a lookup finds it."""
    keys = {"model": model, "type": "global", "region": "", "tier": "default", "variant": ""} | keys
    found = [
        row[f"usd_{what}"]
        for row in rates.table(own).to_pylist()
        if all(row[name] == value for name, value in keys.items())
        and row["valid_from"] <= at < row["valid_until"]
        and row["prompt_from"] <= prompt < row["prompt_until"]
    ]
    assert len(found) <= 1
    return round(found[0] * 1e6, 6) if found and found[0] is not None else None


def test_listed_prices_are_those_of_the_package() -> None:
    """listed.csv is what the pinned genai-prices says."""
    expected = [",".join((*COLUMNS, *OPTIONAL)), *(",".join(line) for line in lines())]
    assert LISTED.read_text().splitlines() == expected, "run python -m analytics.prices.listed"


def test_listed_prices_know_more_than_input_and_output() -> None:
    """The cache, tiers, batches, long prompts, audio, images, seconds and hosted tools."""
    assert (rate(None, "gpt-4o", "cached_tokens"), rate(None, "gpt-4o", "input_tokens")) == (1.25, 2.5)
    assert (rate(None, "gpt-5.4", "input_tokens"), rate(None, "gpt-5.4", "input_tokens", prompt=272_001)) == (2.5, 5)
    assert [rate(None, "gpt-5.4", "input_tokens", tier=tier) for tier in ("flex", "priority", "batch")] == [
        1.25,
        5,
        1.25,
    ]
    claude = [rate(None, "claude-opus-4-8", f"cache_write{kept}_tokens") for kept in ("", "_1h")]
    assert claude == [6.25, 10]
    assert rate(None, "gpt-realtime", "audio_output_tokens") == 64
    assert rate(None, "gpt-image-1", "image_input_tokens") == 10
    assert rate(None, "gpt-4o", "web_search_calls") == 10_000
    assert rate(None, "whisper-1", "audio_seconds") == 100
    assert rate(None, "gpt-4o", "input_tokens", type="data_zone") is None


@pytest.mark.parametrize(
    ("row", "keys", "expected"),
    [
        ("gpt-4o,input_tokens,2,,,,,,,", {}, 2),
        ("gpt-4o,input_tokens,2,1000,,,,,,", {}, 2000),
        ("gpt-4o,input_tokens,2,,2026-11-01,,,,,", {}, 2),
        ("gpt-4o,input_tokens,2,,2026-11-02,,,,,", {}, 2.5),
        ("gpt-4o,input_tokens,2,,2026-11-01T05:00+05:00,,,,,", {}, 2),
        ("GPT-4o,input_tokens,2,,,Global,,Standard,,", {}, 2),
        ("gpt-4o,input_tokens,2,,,data_zone,,,,", {}, 2.5),
        ("gpt-4o,input_tokens,2,,,data_zone,,,,", {"type": "data_zone"}, 2),
        ("gpt-4o,input_tokens,2,,,,Sweden Central,,,", {}, 2.5),
        ("gpt-4o,input_tokens,2,,,,Sweden Central,,,", {"region": "swedencentral"}, 2),
        ("gpt-4o,input_tokens,2,,,,,priority,,", {}, 2.5),
        ("gpt-4o,input_tokens,2,,,,,priority,,", {"tier": "priority"}, 2),
        ("gpt-4o,input_tokens,2,,,,,,100,", {"prompt": 100}, 2.5),
        ("gpt-4o,input_tokens,2,,,,,,100,", {"prompt": 101}, 2),
        ("gpt-4o,output_tokens,2,,,,,,,", {}, 2.5),
    ],
)
def test_your_price_replaces_a_cell(tmp_path: Path, row: str, keys: dict[str, object], expected: float) -> None:
    """Where, how and from when on it says; every other cell stays listed."""
    own = written(tmp_path, f"{HEADER}\n{row}\n")
    found = rate(own, "gpt-4o", "input_tokens", DAY, **keys)  # type: ignore[arg-type]
    assert found == expected


PRICES = some.builds(
    Price,
    model=some.just("m"),
    what=some.sampled_from(["input_tokens", "output_tokens"]),
    usd=some.decimals(0, 9, places=2),
    valid_from=some.sampled_from([ALWAYS, datetime(2026, 1, 1), datetime(2026, 6, 1)]),
    type=some.sampled_from(["", "global", "regional"]),
    region=some.sampled_from(["", "swedencentral"]),
    tier=some.sampled_from(["default", "flex"]),
    over_prompt_tokens=some.sampled_from([0, 100, 200]),
)


@given(some.lists(PRICES, min_size=1, max_size=9))
def test_one_row_is_valid_at_any_time(prices: list[Price]) -> None:
    """Of each lookup's rows, periods and lengths of prompt meet without a gap or an overlap."""
    found: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for row in rates.rows("m", prices):
        found.setdefault(tuple(row[name] for name in rates.KEYS), []).append(row)
    assert found
    for rows in found.values():
        for at in (ALWAYS, datetime(2025, 12, 31), datetime(2026, 1, 1), DAY):
            for prompt in (0, 100, 101, 200, 201):
                valid = [
                    row
                    for row in rows
                    if row["valid_from"] <= at < row["valid_until"]  # type: ignore[operator]
                    and row["prompt_from"] <= prompt < row["prompt_until"]  # type: ignore[operator]
                ]
                assert len(valid) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,what\na,input_tokens\n", "line 1, column price: is missing"),
        ("model,region,input\na,,1\n", "line 1, column what: is missing"),
        ("model,what,price,colour\na,input_tokens,1,red\n", "line 1, column colour: is unknown"),
        ("model,what,price\na,input_tokens,1\nb,input_tokens,dear\n", "line 3, column price: 'dear' is no number"),
        ("model,what,price\na,input_tokens,-1\n", "line 2, column price: '-1' is no amount"),
        ("model,what,price\na,input_tokens,\n", "line 2, column price: is empty"),
        ("model,what,price\na,tokens,1\n", "line 2, column what: 'tokens' is none of input_tokens, "),
        ("model,what,price\n,input_tokens,1\n", "line 2, column model: is empty"),
        ("model,what,price,valid_from\na,images,1,soon\n", "line 2, column valid_from: 'soon' is no date"),
        ("model,what,price,type\na,images,1,local\n", "line 2, column type: 'local' is none of global, "),
        ("model,what,price,per\na,images,1,0\n", "line 2, column per: 0 is no amount"),
        ("model,what,price,over_prompt_tokens\na,input_tokens,1,1.5\n", "column over_prompt_tokens: 1.5 is no whole"),
        ("model,what,price,variant\na,input_tokens,1,hd\n", "line 2, column variant: input_tokens have none"),
        ("model,what,price\na,images,1\nA,images,2\n", "line 3, column model: repeats a row: a, images"),
        ("model,what,price\na,images,1,2\n", "line 2: more cells than columns"),
    ],
)
def test_an_error_in_prices_names_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    """And what is wrong there."""
    with pytest.raises(ValueError, match=r"own\.csv, ") as fault:
        read(written(tmp_path, text))
    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployment,type\na,PTU\n", "line 2, column type: 'PTU' is none of global, "),
        ("deployment,type\na,provisioned\n", "line 2, column valid_from: is empty: "),
        ("deployment,units\na,many\n", "line 2, column units: 'many' is no number"),
        ("deployment,type\na,global\na,regional\n", "line 3, column type: a has another type"),
        ("deployment\na\na\n", "line 3, column valid_from: a has a row for this period above"),
        ("deployment,valid_from,valid_until\na,2026-02-01,2026-01-01\n", "column valid_until: is not after valid_from"),
    ],
)
def test_an_error_in_deployments_names_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    """So a deployment has one type, and its periods do not overlap."""
    with pytest.raises(ValueError, match=r"own\.csv, ") as fault:
        deployments.table(written(tmp_path, text))
    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("product,a,1,2026-13", "column month: '2026-13' is no month"),
        ("product,a,lots,", "column usd: 'lots' is no number"),
        (",a,1,", "column caller_field: is empty"),
        ("product,a,1,\nproduct,a,2,", "line 3, column name: repeats a row: product, a"),
    ],
)
def test_an_error_in_budgets_names_line_and_column(tmp_path: Path, row: str, said: str) -> None:
    """A budget is for one month, or for every month."""
    with pytest.raises(ValueError, match=r"own\.csv, ") as fault:
        budgets.table(written(tmp_path, f"caller_field,name,usd,month\n{row}\n"))
    assert said in str(fault.value)


def test_tables_are_printed_for_other_engines(tmp_path: Path) -> None:
    """As CSV, with '' and null told apart."""
    own = written(tmp_path, "deployment,type,valid_from\nptu,provisioned,2026-01-01\n")
    printed = run("analytics.prices", "Deployments", "--deployments", own).stdout.splitlines()
    assert (
        printed[1]
        == f'"ptu","","","provisioned","","",0.0,0.0,"2026-01-01T00:00:00+00:00","{NEVER:%Y-%m-%d}T00:00:00+00:00"'
    )
    found = run("analytics.prices", "--deployments", written(tmp_path, "type\n"))
    assert (found.returncode, "column deployment" in found.stderr) == (2, True)
