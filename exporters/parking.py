"""Parking: moves what an instance could not send before it stopped to Blob Storage, where any instance picks it up.

A serverless instance loses its disk when it stops, so its spool must not keep the only copy.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from exporters.blob import BlobStore
from exporters.losses import Losses
from exporters.segment import SEALED, Segment, segment_name
from exporters.spool import Spool

log = logging.getLogger(__name__)

ENOUGH_BYTES: Final = 8 * 1024 * 1024
"""Above this backlog nothing more is imported: parked segments are safe where they are."""
LOOK_AGAIN_S: Final = 1.0


class Parking:
    """Moves segments between the spool and the container."""

    def __init__(self, spool: Spool, blobs: BlobStore, losses: Losses) -> None:
        self._spool = spool
        self._blobs = blobs
        self._losses = losses

    async def park_all(self, done: Callable[[Segment], int]) -> None:
        """Upload every waiting segment, without the lines that are `done`. It leaves the spool once it is stored.

        Raises nothing: what cannot be stored stays, and only an unreachable container stops the rest."""
        staying: list[Segment] = []
        try:
            while (segment := self._spool.claim()) is not None:
                if await self._park(segment, done(segment)):
                    self._spool.acknowledge(segment)
                else:
                    self._spool.set_aside(segment)
                    staying.append(segment)
        except AzureError as fault:
            log.warning("records stay on this disk: Blob Storage failed: %s", type(fault).__name__)
        finally:
            self._spool.add_segments(staying)

    async def _park(self, segment: Segment, done: int) -> bool:
        """Whether nothing of it is left to park. Gives it back and raises AzureError if the container is down."""
        try:
            lines, torn = self._spool.lines(segment)
            if rest := b"".join(bytes(line) + b"\n" for line in lines[done:]):
                await self._blobs.park(segment.path.with_suffix(SEALED).name, rest)
        except FileNotFoundError:
            self._losses.add("spool_removed", segment.records - done)
            return True
        except (HttpResponseError, OSError) as fault:
            log.warning("records stay on this disk: a segment cannot be parked: %s", type(fault).__name__)
            return False
        except BaseException:  # also on timeout
            self._spool.give_back(segment)
            raise
        if torn:
            self._losses.add("torn_line")
        return True

    async def import_parked(self) -> None:
        """Move the parked segments into the spool, oldest first. Each leaves the container once it is on disk here.

        Raises AzureError if the container cannot be listed; a segment that cannot be imported does not stop the rest.
        """
        for name in await self._blobs.parked():
            while self._spool.backlog().bytes > ENOUGH_BYTES:  # noqa: ASYNC110  the spool does not signal acknowledgements
                await asyncio.sleep(LOOK_AGAIN_S)
            try:
                parked = await self._blobs.fetch(name)
                if parked is not None:
                    self._import(parked.name, parked.content)
                    await parked.remove()
            except (AzureError, OSError) as fault:
                log.warning("parked records cannot be imported: %s", type(fault).__name__)

    def _import(self, name: str, content: bytes) -> None:
        """Write it to disk under its name or, if that is taken, the next free one."""
        while True:
            try:
                return self._spool.import_segment(name, content)
            except FileExistsError:
                stem, _, ending = name.partition(".")
                created, _, counter = stem.partition("-")
                name = f"{segment_name(int(created, 16), int(counter) + 1)}.{ending}"
