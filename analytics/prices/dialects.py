"""Expressions in the languages of the engines: SQL for DuckDB and Spark, and KQL for Azure Data Explorer."""

from abc import ABC, abstractmethod


class Dialect(ABC):
    """Functions and operators; arguments and results are text. Numbers, columns and + - * are the same everywhere."""

    @abstractmethod
    def text(self, value: str) -> str:
        """A string."""

    @abstractmethod
    def number(self, json: str, member: str) -> str:
        """A number in a column of JSON text that may be '', 0 if it is not there."""

    @abstractmethod
    def iff(self, test: str, yes: str, no: str) -> str: ...

    @abstractmethod
    def same(self, one: str, other: str) -> str: ...

    @abstractmethod
    def unknown(self, value: str) -> str:
        """Whether a number is null."""

    @abstractmethod
    def without(self, text: str, pattern: str) -> str:
        """The text without what the pattern matches."""

    @abstractmethod
    def lower(self, text: str) -> str: ...

    @abstractmethod
    def least(self, one: str, other: str) -> str: ...

    @abstractmethod
    def most(self, one: str, other: str) -> str: ...

    @abstractmethod
    def words(self, *texts: str) -> str:
        """Texts one after the other, without spaces around them all."""

    @abstractmethod
    def joined(self, *texts: str) -> str: ...

    none = "NULL"
    """An unknown amount."""
    false = "false"

    def either(self, *values: str) -> str:
        """The first that is not null."""
        return f"coalesce({', '.join(values)})"

    def first(self, *texts: str) -> str:
        """The first text that is neither null nor '', else ''."""
        return self.either(*(f"nullif({text}, '')" for text in texts), "''")

    def one_of(self, text: str, *words: str) -> str:
        return f"{text} IN ({', '.join(map(self.text, words))})"


class Sql(Dialect):
    """DuckDB's SQL."""

    def text(self, value: str) -> str:
        return f"'{value}'"

    def number(self, json: str, member: str) -> str:
        return self.iff(
            f"{json} = ''", "0.0", f"coalesce(TRY_CAST(json_extract_string({json}, '$.{member}') AS DOUBLE), 0.0)"
        )

    def iff(self, test: str, yes: str, no: str) -> str:
        return f"CASE WHEN {test} THEN {yes} ELSE {no} END"

    def same(self, one: str, other: str) -> str:
        return f"{one} = {other}"

    def unknown(self, value: str) -> str:
        return f"{value} IS NULL"

    def without(self, text: str, pattern: str) -> str:
        return f"regexp_replace({text}, '{pattern}', '', 'g')"

    def lower(self, text: str) -> str:
        return f"lower({text})"

    def least(self, one: str, other: str) -> str:
        return f"least({one}, {other})"

    def most(self, one: str, other: str) -> str:
        return f"greatest({one}, {other})"

    def words(self, *texts: str) -> str:
        return f"trim({self.joined(*texts)})"

    def joined(self, *texts: str) -> str:
        return f"concat({', '.join(texts)})"


class SparkSql(Sql):
    """Spark's SQL."""

    def without(self, text: str, pattern: str) -> str:
        return f"regexp_replace({text}, '{pattern}', '')"

    def number(self, json: str, member: str) -> str:
        return f"coalesce(try_cast(get_json_object({json}, '$.{member}') AS DOUBLE), 0.0)"


class Kql(Dialect):
    """KQL."""

    none = "real(null)"

    def first(self, *texts: str) -> str:
        return self.either(*texts, '""')  # for strings, KQL's coalesce skips empty ones

    def text(self, value: str) -> str:
        return f'"{value}"'

    def number(self, json: str, member: str) -> str:
        return f"coalesce(todouble(parse_json({json}).{member}), 0.0)"

    def iff(self, test: str, yes: str, no: str) -> str:
        return f"iff({test}, {yes}, {no})"

    def same(self, one: str, other: str) -> str:
        return f"{one} == {other}"

    def unknown(self, value: str) -> str:
        return f"isnull({value})"

    def without(self, text: str, pattern: str) -> str:
        return f'replace_regex({text}, @"{pattern}", "")'

    def lower(self, text: str) -> str:
        return f"tolower({text})"

    def least(self, one: str, other: str) -> str:
        return f"min_of({one}, {other})"

    def most(self, one: str, other: str) -> str:
        return f"max_of({one}, {other})"

    def words(self, *texts: str) -> str:
        return f'trim(" ", {self.joined(*texts)})'

    def joined(self, *texts: str) -> str:
        return f"strcat({', '.join(texts)})"

    def one_of(self, text: str, *words: str) -> str:
        return f"{text} in ({', '.join(map(self.text, words))})"
