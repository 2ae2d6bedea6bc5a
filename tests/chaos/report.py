"""The report: facts with what they must be, as a table for the terminal and for docs/reliability.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Fact:
    """One line of the table; `holds` is None where nothing is promised."""

    what: str
    found: str
    must: str = ""
    holds: bool | None = None


@dataclass
class Report:
    """What a run found."""

    name: str
    facts: list[Fact] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add(self, what: str, found: object, must: str = "", holds: bool | None = None) -> None:
        self.facts.append(Fact(what, str(found), must, holds))

    @property
    def holds(self) -> bool:
        return all(fact.holds is not False for fact in self.facts)

    def markdown(self) -> str:
        """The tables."""
        rows = [
            (fact.what, fact.found, fact.must, {None: "", True: "yes", False: "**no**"}[fact.holds])
            for fact in self.facts
        ]
        return "\n\n".join([table(("", "found", "must be", "holds"), rows), *self.tables])

    def write(self, page: Path) -> None:
        """Put the tables between this report's two marks in a page."""
        begin, end = f"<!-- {self.name}: begin -->", f"<!-- {self.name}: end -->"
        text = page.read_text()
        between = re.compile(re.escape(begin) + ".*" + re.escape(end), re.S)
        if not between.search(text):
            raise ValueError(f"{page} has no place for {self.name}")
        page.write_text(between.sub(lambda _: f"{begin}\n{self.markdown()}\n{end}", text))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown, its columns aligned for those who read it as text."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(tuple("-" * width for width in widths)), *map(line, rows)])
