"""API Management's log of model calls, `ApiManagementGatewayLlmLog`: from an export, or from its workspace.

A call has several rows if its messages are long; they share a correlation id. Columns are described in
https://learn.microsoft.com/azure/azure-monitor/reference/tables/apimanagementgatewayllmlog.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

TABLE: Final = "ApiManagementGatewayLlmLog"
_COLUMNS: Final = (
    *("TimeGenerated", "CorrelationId", "OperationName", "ModelName", "DeploymentName"),
    *("PromptTokens", "CompletionTokens"),
)
QUERY: Final = f"{TABLE} | project {', '.join(_COLUMNS)}"
"""Without the messages, which may be large. Its rows are at most 500,000 and 100 MB: the service's limit."""


class NotALog(ValueError):
    """The export has not the table's columns, or the workspace gave only a part."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A call as API Management logged it. Counts are None if no row has one."""

    id: str
    """API Management's id of the request, in lower case."""
    at: datetime
    """When the request's processing began; UTC, without a zone."""
    operation: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


def exported(path: Path) -> list[Logged]:
    """The calls of an export: a JSON list or JSON lines as `az monitor log-analytics query` gives, or the portal's CSV.

    Raises OSError; NotALog for other content.
    """
    text = path.read_text(encoding="utf-8-sig")
    try:
        if text.lstrip()[:1] == "[":
            rows = json.loads(text)
        elif text.lstrip()[:1] == "{":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(io.StringIO(text)))
    except ValueError as fault:
        raise NotALog(f"{path} is neither JSON nor CSV: {fault}") from fault
    return calls(rows)


def asked(
    workspace: str, since: datetime, until: datetime, credential: "TokenCredential", **options: Any
) -> list[Logged]:
    """The calls that a workspace, by its customer id, has of a period in UTC.

    `options` are LogsQueryClient's. Raises AzureError; NotALog if the answer is cut at the service's limit.
    """
    from azure.monitor.query import LogsQueryClient, LogsQueryStatus

    with LogsQueryClient(credential, **options) as client:
        period = (since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))
        result = client.query_workspace(workspace, QUERY, timespan=period)
    if result.status != LogsQueryStatus.SUCCESS:
        raise NotALog(f"{TABLE} gave only a part of the period: take a shorter one")
    (table,) = result.tables
    return calls(dict(zip(table.columns, row, strict=True)) for row in table.rows)


def calls(rows: Iterable[Mapping[str, Any]]) -> list[Logged]:
    """One call for all rows of a correlation id. Raises NotALog if a column is missing."""
    found: dict[str, Logged] = {}
    for row in rows:
        # the portal names a time column with its zone
        values = {str(name).removesuffix(" [UTC]"): value for name, value in row.items()}
        if missing := {"CorrelationId", "TimeGenerated"} - set(values):
            raise NotALog(f"not {TABLE}: {', '.join(sorted(missing))} is missing")
        one = Logged(
            str(values["CorrelationId"]).lower(),
            _moment(values["TimeGenerated"]),
            str(values.get("OperationName") or ""),
            str(values.get("ModelName") or values.get("DeploymentName") or ""),
            _count(values.get("PromptTokens")),
            _count(values.get("CompletionTokens")),
        )
        found[one.id] = _joined(found[one.id], one) if one.id in found else one
    return sorted(found.values(), key=lambda call: (call.at, call.id))


def _joined(one: Logged, other: Logged) -> Logged:
    """Counts are in one of the rows, or in all: the highest is the call's."""
    return Logged(
        one.id,
        min(one.at, other.at),
        one.operation or other.operation,
        one.model or other.model,
        _higher(one.prompt_tokens, other.prompt_tokens),
        _higher(one.completion_tokens, other.completion_tokens),
    )


def _higher(one: int | None, other: int | None) -> int | None:
    return max((count for count in (one, other) if count is not None), default=None)


def _moment(value: Any) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        # the portal's CSV: 12/1/2026, 7:05:12.345 AM
        try:
            moment = datetime.strptime(str(value), "%m/%d/%Y, %I:%M:%S.%f %p")
        except ValueError as fault:
            raise NotALog(f"not a time: {value!r}") from fault
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _count(value: Any) -> int | None:
    text = str(value if value is not None else "").replace(",", "").strip()
    return int(float(text)) if text else None
