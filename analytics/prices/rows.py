"""Reads a CSV row by row; whatever is wrong with a cell names the file, the line and the column."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path


class Row:
    """One line of a CSV, whose cells are read by the methods below. Each raises ValueError."""

    def __init__(self, file: Path, line: int, cells: dict[str, str]) -> None:
        self._file, self._line, self._cells = file, line, cells

    def text(self, column: str, one_of: tuple[str, ...] = ()) -> str:
        """The text without spaces around it, in lower case if it must be one of some words; '' if empty."""
        found = self._cells.get(column, "").strip()
        if one_of and found.lower() not in ("", *one_of):
            raise self.fault(column, f"{found!r} is none of {', '.join(one_of)}")
        return found.lower() if one_of else found

    def required(self, column: str, one_of: tuple[str, ...] = ()) -> str:
        """The text, which must be there."""
        if not (found := self.text(column, one_of)):
            raise self.fault(column, "is empty")
        return found

    def number(self, column: str, default: Decimal | None = None) -> Decimal:
        """A number that is not negative."""
        text = self.required(column) if default is None else self.text(column)
        number = default if text == "" else self._converted(column, text, Decimal, "number")
        if number is None or not number.is_finite() or number < 0:
            raise self.fault(column, f"{text!r} is no amount")
        return number

    def day(self, column: str, default: datetime) -> datetime:
        """A date in ISO 8601; with a time and an offset too. In UTC, without a zone."""
        if not (text := self.text(column)):
            return default
        moment = self._converted(column, text, datetime.fromisoformat, "date")
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment

    def fault(self, column: str, what: str) -> ValueError:
        """An error at a cell of this row."""
        return ValueError(f"{self._file}, line {self._line}, column {column}: {what}")

    def _converted[T](self, column: str, text: str, convert: Callable[[str], T], name: str) -> T:
        try:
            return convert(text)
        except (ValueError, InvalidOperation):
            raise self.fault(column, f"{text!r} is no {name}") from None


def rows(file: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a CSV with these columns. Raises ValueError for a missing or an unknown one; OSError."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        found = csv.DictReader(lines, restkey="", restval="")
        names = found.fieldnames or ()
        for name in required:
            if name not in names:
                raise ValueError(f"{file}, line 1, column {name}: is missing")
        for name in names:
            if name not in (*required, *optional):
                raise ValueError(f"{file}, line 1, column {name}: is unknown; known: {', '.join(required + optional)}")
        for cells in found:
            if "" in cells:
                raise ValueError(f"{file}, line {found.line_num}: more cells than columns")
            yield Row(file, found.line_num, cells)
