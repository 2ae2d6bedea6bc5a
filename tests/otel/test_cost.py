"""Exports go out in small batches, so that they delay no call for long."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel.outbox import BATCH, QUEUE
from tests.kit.hub import ROOT
from tests.kit.ingestion import Ingestion


@pytest.mark.heavy
def test_a_full_queue_is_exported_in_small_batches(ingestion: Ingestion, tmp_path: Path) -> None:
    """After an outage a full queue is sent completely, in small batches: the larger a batch, the longer the calls wait
    for the interpreter (`python -m tests.otel.stall` measures it)."""
    command = [sys.executable, "-m", "tests.otel.stall", ingestion.conn_str, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    sent = [json.dumps(json.loads(body)).count('"RemoteDependencyData"') for body in ingestion.bodies]
    assert sum(sent) == QUEUE
    assert 0 < max(sent) <= BATCH <= 64
