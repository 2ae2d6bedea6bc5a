"""The questions: each is a KQL file in analytics/queries, with its translation for DuckDB next to it.

Azure Data Explorer and Fabric run NAME.kql unchanged; DuckDB runs NAME.sql, which `analytics.ask.translate` generates.
The parameters `since` and `until` bound the calls' end, in UTC. A question with the parameter `field` groups by that
field of the caller too, in the column `caller`; '' means by none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

QUERIES: Final = Path(__file__).parents[1] / "queries"
DEFAULTS: Final[Mapping[str, datetime]] = {"since": datetime(2000, 1, 1), "until": datetime(2100, 1, 1)}
FIELD: Final = "field"
CALLER: Final = "caller"
CALLER_FIELDS: Final = ("subscription_id", "product", "user_id")
"""Columns by which questions group if no field is given."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, named after its file."""

    name: str

    @property
    def kql(self) -> str:
        return (QUERIES / f"{self.name}.kql").read_text()

    @property
    def sql(self) -> str:
        """With the parameters $since and $until, and $field if the question has it."""
        return (QUERIES / f"{self.name}.sql").read_text()

    @property
    def field(self) -> str | None:
        """The caller field that the question groups by if none is given, '' for none; None if it cannot."""
        found = re.search(rf'\b{FIELD}: string = "(\w*)"', self.kql)
        return found[1] if found else None

    @property
    def priced(self) -> bool:
        """Whether the question needs the prices."""
        return re.search(r"^Costs$|= Costs$", self.kql, re.MULTILINE) is not None

    @property
    def words(self) -> str:
        """The question in plain language, from the first line of the file."""
        return self.kql.partition("\n")[0].removeprefix("// ")


def questions() -> dict[str, Question]:
    """All questions, by name."""
    return {path.stem: Question(path.stem) for path in sorted(QUERIES.glob("*.kql"))}
