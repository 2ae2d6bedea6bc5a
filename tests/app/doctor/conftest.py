"""Runs the doctor and parses its output."""

from collections.abc import Callable

import pytest

from app.doctor.__main__ import main
from tests.kit.proxy import KEY


class Diagnosis:
    """The doctor's output by verdict and check; wrapped lines are joined."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said
        self.lines: list[tuple[str, str, str]] = []
        for line in said.splitlines():
            if line.startswith(" " * 20):
                word, check, text = self.lines[-1]
                self.lines[-1] = (word, check, f"{text} {line.strip()}")
            elif line.startswith("  "):
                self.lines.append((line[2:8].strip(), line[8:20].strip(), line[20:]))

    def of(self, check: str) -> str:
        """The lines about one check."""
        return "\n".join(f"{word} {text}" for word, name, text in self.lines if name == check)

    def words(self, check: str) -> list[str]:
        """The verdicts on one check."""
        return [word for word, name, _ in self.lines if name == check]


type Examine = Callable[..., Diagnosis]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Run the doctor on a URL, with a key in the environment."""
    for name in ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_DEPLOYMENT", "AZURE_EVENTHUB_CONN_STR", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("app.doctor.checks.RECORD_S", 90.0)  # a busy machine may be slow

    def run(url: str, *arguments: str) -> Diagnosis:
        status = main([url, "--timeout", "60", *arguments])
        said = "".join(capsys.readouterr())
        assert KEY not in said
        assert "Traceback" not in said
        return Diagnosis(status, said)

    return run
