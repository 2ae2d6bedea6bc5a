"""Parking: what an instance could not send before it stopped waits in Blob Storage; any instance takes it on.

A serverless instance's disk dies with it, so what its spool still holds at the end goes there.
"""

import logging
from typing import Final

from azure.core.exceptions import AzureError

from exporters.blob import BlobStore
from exporters.spool import Spool

log = logging.getLogger(__name__)

AT_ONCE: Final = 8


class Parking:
    """Moves segments between the spool and the container. Raises nothing: what fails is tried again."""

    def __init__(self, spool: Spool, blobs: BlobStore) -> None:
        self._spool = spool
        self._blobs = blobs

    async def park_all(self) -> None:
        """Upload every segment that waits. Each leaves the spool once it is stored."""
        while (segment := self._spool.claim()) is not None:
            stored = False
            try:
                await self._blobs.park(segment.path.name, segment.path.read_bytes())
                stored = True
            except (AzureError, OSError) as fault:
                log.warning("records stay on this disk: Blob Storage failed: %s", type(fault).__name__)
                return
            finally:
                if stored:
                    self._spool.acknowledge(segment)
                else:
                    self._spool.give_back(segment)

    async def take_in(self) -> None:
        """Take some of the parked segments into the spool. Each leaves the container once it is on disk here."""
        try:
            for name in (await self._blobs.parked())[:AT_ONCE]:
                parked = await self._blobs.fetch(name)
                if parked is not None:
                    self._spool.import_segment(parked.name, parked.content)
                    await parked.remove()
        except (AzureError, OSError) as fault:
            log.warning("parked records cannot be taken in: %s", type(fault).__name__)
