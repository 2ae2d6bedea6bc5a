"""Pace: how long the sender waits for what, and how long it rests after a failure; all in seconds."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """The defaults are those of production; tests have faster ones."""

    linger: float = 0.2
    """Records that come within this time of each other go out together."""
    sync_every: float = 1.0
    """Between two fsyncs of what was appended meanwhile: what a power cut can take."""
    look_every: float = 5.0
    """Between two looks for what dead processes left."""
    look_for_parked_every: float = 60.0
    """The same in Blob Storage, which charges for each look."""
    first_pause: float = 0.25
    longest_pause: float = 10.0
    busy_pause: float = 4.0
    """What Event Hubs asks for with ServerBusy."""
    answer: float = 20.0
    """For the hub to answer: past that a broker counts as frozen."""
    longest_answer: float = 60.0
    """The same for a hub that has just let that time pass: one that is merely slow must not get copies for ever."""
    store: float = 10.0
    """For Blob Storage to take a record too large for the hub."""
    close: float = 1.0
    """For a connection to be closed in good form."""

    def pause(self, failures: int, busy: bool) -> float:
        """How long to rest after so many failures in a row: twice as long each time up to a limit, and never exactly
        as long as the other instances that failed in the same moment."""
        grown = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 30))
        pause = grown * random.uniform(0.75, 1.0)
        return max(pause, self.busy_pause * random.uniform(1.0, 1.25)) if busy else pause

    def patience(self, unanswered: int) -> float:
        """How long to wait for the hub's answer after so many operations in a row that had none."""
        return min(self.longest_answer, self.answer * 2.0 ** min(unanswered, 30))
