"""Inserts the queries of docs/queries into workbook.json, with the workbook's parameters for their `let` constants.

    python infra/workbook/fill.py

A step of the workbook takes the query of the file with its name; the dropdown Region takes that of regions.kql.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

WORKBOOK: Final = Path(__file__).with_name("workbook.json")
QUERIES: Final = Path(__file__).parents[2] / "docs/queries"

PARAMETERS: Final = {
    "grain": "{TimeRange:grain}",
    "regions": "dynamic([{Region}])",
    "deployments": "dynamic([{Deployment}])",
    "trace": "'{Trace}'",
}
"""The workbook's value for each constant at the top of a file."""


def queried(items: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything with a query in the workbook's items and groups, with the name of its file."""
    for item in items:
        content = item["content"]
        yield from queried(content.get("items", []))
        if "query" in content:
            yield item["name"], content
        for parameter in content.get("parameters", []):
            if "query" in parameter:
                yield f"{parameter['name'].lower()}s", parameter


def with_parameters(query: str) -> str:
    """The query for the workbook."""
    constant = re.compile(rf"^let ({'|'.join(PARAMETERS)}) = .*;$", re.MULTILINE)
    return constant.sub(lambda found: f"let {found[1]} = {PARAMETERS[found[1]]};", query)


def fill(workbook: dict[str, Any]) -> None:
    """Set every query of the workbook."""
    for name, place in queried(workbook["items"]):
        place["query"] = with_parameters((QUERIES / f"{name}.kql").read_text())


if __name__ == "__main__":
    whole = json.loads(WORKBOOK.read_text())
    fill(whole)
    WORKBOOK.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
