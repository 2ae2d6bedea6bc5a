"""Link addresses: the hub, consumer group, partition and selector that a source or target names."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from dev.event_hubs.amqp_values import Described

_HUB: Final = re.compile(
    r"(?P<hub>[^/]+)(?:/ConsumerGroups/(?P<group>[^/]+))?(?:/Partitions/(?P<partition>[^/]+))?", re.IGNORECASE
)
_SELECTOR: Final = "apache.org:selector-filter:string"
# Fields of source and target (part 3 §3.5.3).
_ADDRESS_FIELD: Final = 0
_FILTER_FIELD: Final = 7


@dataclass(frozen=True, slots=True)
class HubAddress:
    hub: str
    group: str | None
    partition: str | None


def parse(path: str) -> HubAddress | None:
    """`hub`, `hub/Partitions/0` or `hub/ConsumerGroups/$default/Partitions/0`; None for anything else."""
    found = _HUB.fullmatch(path)
    return HubAddress(found["hub"], found["group"], found["partition"]) if found else None


def path_of(terminus: Described | None) -> str:
    """The path that a source or target names; "" if none."""
    address = _field(terminus, _ADDRESS_FIELD)
    if not isinstance(address, str):
        return ""
    return (urlsplit(address).path if "://" in address else address).strip("/")


def filter_of(source: Described) -> str | None:
    """The selector of a source, if any."""
    filters = _field(source, _FILTER_FIELD)
    chosen = filters.get(_SELECTOR) if isinstance(filters, dict) else None
    text = chosen.value if isinstance(chosen, Described) else chosen
    return text if isinstance(text, str) else None


def _field(terminus: Described | None, at: int) -> object:
    fields = terminus.value if terminus else None
    return fields[at] if isinstance(fields, list) and at < len(fields) else None
