"""Pace: the sender's intervals, timeouts and backoff, all in seconds."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """The defaults are for production; tests use shorter ones."""

    linger: float = 0.2
    """Records that arrive within this time are sent together."""
    sync_every: float = 1.0
    """Between two fsyncs of appended records: what a power cut can lose."""
    look_every: float = 5.0
    """Between two searches for directories of dead processes."""
    look_for_parked_every: float = 60.0
    """Between two searches for parked segments in Blob Storage, which charges for each."""
    first_pause: float = 0.25
    longest_pause: float = 10.0
    busy_pause: float = 4.0
    """The pause that Event Hubs asks for with ServerBusy."""
    answer: float = 20.0
    """Timeout for the hub's response: after that a broker counts as frozen."""
    longest_answer: float = 60.0
    """Upper limit of that timeout, which grows after timeouts: a merely slow hub must not get copies forever."""
    store: float = 10.0
    """Timeout for storing a record too large for the hub in Blob Storage."""
    close: float = 1.0
    """Timeout for closing a connection gracefully."""

    def pause(self, failures: int, busy: bool) -> float:
        """The backoff after so many consecutive failures: exponential up to a limit, with jitter so that instances that
        failed at the same moment do not retry together."""
        grown = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, 30))
        pause = grown * random.uniform(0.75, 1.0)
        return max(pause, self.busy_pause * random.uniform(1.0, 1.25)) if busy else pause

    def patience(self, unanswered: int) -> float:
        """The timeout for the hub's response after so many consecutive timeouts."""
        return min(self.longest_answer, self.answer * 2.0 ** min(unanswered, 30))
