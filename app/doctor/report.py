"""Report: the doctor's output."""

import textwrap


class Report:
    """Prints findings line by line and counts failures. Masks secrets."""

    def __init__(self, *hidden: str) -> None:
        self._hidden = [secret for secret in hidden if secret]
        self.failed = 0

    def ok(self, check: str, found: str) -> None:
        """The check passed."""
        self._say("ok", check, found)

    def note(self, check: str, found: str) -> None:
        """Something an operator should know, which may be intended."""
        self._say("note", check, found)

    def fail(self, check: str, found: str) -> None:
        """The check failed."""
        self.failed += 1
        self._say("FAIL", check, found)

    def _say(self, word: str, check: str, found: str) -> None:
        for secret in self._hidden:
            found = found.replace(secret, "…")
        lead = f"  {word:<6}{check:<12}"
        print(textwrap.fill(found, 100, initial_indent=lead, subsequent_indent=" " * len(lead)), flush=True)


def milliseconds(seconds: float | None) -> str:
    """A duration as text."""
    if seconds is None:
        return "never"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
