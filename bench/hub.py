"""Hub: counts the records that arrived, and checks the new ones."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from bench.workloads import Workload

_PARTITIONS: Final = 4


class WrongRecords(Exception):
    """Records are missing, surplus or wrong."""


class Hub:
    """The broker through its control endpoint."""

    def __init__(self, control_port: int) -> None:
        self._url = f"http://127.0.0.1:{control_port}"
        self._read = [0] * _PARTITIONS

    def count(self) -> int:
        return int(self._get("/stats")["events_total"])

    def check_new(self, workload: Workload, calls: int) -> None:
        """Check the records since the last check: one per call, with the expected content. Raises WrongRecords."""
        ids = set()
        for record in self._new():
            ids.add(record["id"])
            if fault := _fault(record, workload):
                raise WrongRecords(f"{workload.name}: {fault}: {json.dumps(record)[:2000]}")
        if len(ids) != calls:
            raise WrongRecords(f"{workload.name}: {len(ids)} records of {calls} calls")

    def _new(self) -> Iterator[dict[str, Any]]:
        for partition in range(_PARTITIONS):
            events = self._get(f"/events?partition={partition}&from={self._read[partition]}")["events"]
            self._read[partition] += len(events)
            for event in events:
                yield json.loads(event["body"])

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self._url + path, timeout=120) as response:
            found: dict[str, Any] = json.load(response)
            return found


def _fault(record: dict[str, Any], workload: Workload) -> str | None:
    """Describe what is wrong with a record, if anything."""
    if record["status"] != "completed" or record["http_status"] != 200:
        return "not completed"
    if record["deployment"] != workload.deployment or record["region"] != "Sweden Central":
        return "another deployment or region"
    if len(record["prompt"][1]["content"]) != workload.prompt_bytes:
        return "another prompt"
    if not workload.stream:
        right = record["usage"]["total_tokens"] == 300 and set(record["content"]) == {"x"}
        return None if right else "another response"
    # the first chunk has filter results and the last one the finish reason; each of the others has a token
    tokens = record["content"].split("@")[1:]
    if len(tokens) != workload.chunks - 2 or any(len(token) != 16 for token in tokens) or tokens != sorted(tokens):
        return "another text"
    if record["usage"]["total_tokens"] != workload.chunks + 198 or record["finish_reasons"] != ["stop"]:
        return "another usage or finish reason"
    return None
