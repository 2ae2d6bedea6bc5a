"""The report: facts with their requirements, as a table for the terminal and for docs/reliability.md."""

from dataclasses import dataclass, field
from pathlib import Path

from bench.report import table, write


@dataclass(frozen=True)
class Fact:
    """One line of the table; `met` is None where nothing is required."""

    what: str
    found: str
    limit: str = ""
    met: bool | None = None


@dataclass
class Report:
    """The results of a run."""

    name: str
    facts: list[Fact] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add(self, what: str, found: object, limit: str = "", met: bool | None = None) -> None:
        self.facts.append(Fact(what, str(found), limit, met))

    @property
    def met(self) -> bool:
        return all(fact.met is not False for fact in self.facts)

    def markdown(self) -> str:
        """The tables."""
        rows = [
            (fact.what, fact.found, fact.limit, {None: "", True: "yes", False: "**no**"}[fact.met])
            for fact in self.facts
        ]
        return "\n\n".join([table(("", "measured", "limit", "met"), rows), *self.tables])

    def write(self, page: Path) -> None:
        """Replace the tables between this report's markers in a page."""
        write(page, {self.name: self.markdown()})
