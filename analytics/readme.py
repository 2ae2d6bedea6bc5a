"""Updates the list of columns in README.md: `python -m analytics.readme`."""

from pathlib import Path
from typing import Final

from analytics.columns import COLUMNS

README: Final = Path(__file__).with_name("README.md")
_BEGIN: Final = "<!-- columns -->\n"
_END: Final = "<!-- end of columns -->\n"


def filled(text: str) -> str:
    """The text with the current list of columns."""
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{column.name}` | {column.kind.kql} | {column.meaning} |" for column in COLUMNS]
    return before + _BEGIN + "\n".join(lines) + "\n" + _END + after


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
