"""The questions: each a file in analytics/queries, written in KQL, with its translation for DuckDB beside it.

Azure Data Explorer and Fabric take NAME.kql as it is; DuckDB runs NAME.sql, which `analytics.ask.translate` makes of
it. The parameters `since` and `until` bound the end of the calls, in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

QUERIES: Final = Path(__file__).parents[1] / "queries"
DEFAULTS: Final[Mapping[str, datetime]] = {"since": datetime(2000, 1, 1), "until": datetime(2100, 1, 1)}


@dataclass(frozen=True, slots=True)
class Question:
    """One question, by the name of its file."""

    name: str

    @property
    def kql(self) -> str:
        return (QUERIES / f"{self.name}.kql").read_text()

    @property
    def sql(self) -> str:
        """With the parameters $since and $until."""
        return (QUERIES / f"{self.name}.sql").read_text()

    @property
    def words(self) -> str:
        """The question itself, the first line of the file."""
        return self.kql.partition("\n")[0].removeprefix("// ")


def questions() -> dict[str, Question]:
    """All there are, by name."""
    return {path.stem: Question(path.stem) for path in sorted(QUERIES.glob("*.kql"))}
