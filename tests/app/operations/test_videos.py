"""Videos: billed by seconds, which count when a fetch tells that they are complete.

Shapes by openai-python (types/video.py) and Azure's reference of video generation jobs; nothing was recorded.
"""

import json
from typing import Any

import pytest

from tests.app.operations.conftest import Through
from tests.app.operations.shapes import read
from tests.kit.hub import HubReader
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import client

VIDEO = {"id": "video_1", "object": "video", "model": "sora-2", "seconds": "8", "size": "720x1280"}
JOB = {"id": "task_1", "object": "video.generation.job", "model": "sora", "n_seconds": 5, "n_variants": 2}
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsora-2\r\n--b--\r\n'


def test_a_new_video_is_pending(through: Through) -> None:
    """It is billed only if it is made."""
    answer = json.dumps({**VIDEO, "status": "queued"}).encode()
    record = through("/openai/v1/videos", FORM, answer, sent_type="multipart/form-data; boundary=b")
    assert (record["operation"], record["usage_source"], record["deployment"]) == (
        "video_generation",
        "pending",
        "sora-2",
    )
    assert (record["response_id"], record["response_status"], record.get("units")) == ("video_1", "queued", None)


def test_a_new_job_is_pending(through: Through) -> None:
    """Its prompt and its other members are recorded."""
    body = {"model": "sora", "prompt": "A dog", "n_seconds": 5, "n_variants": 2}
    answer = json.dumps({**JOB, "status": "preprocessing", "generations": []}).encode()
    record = through("/openai/v1/video/generations/jobs", body, answer)
    assert (record["prompt"], record["request"]) == ("A dog", {"model": "sora", "n_seconds": 5, "n_variants": 2})
    assert (record["usage_source"], record["response_id"]) == ("pending", "task_1")


@pytest.mark.parametrize(
    ("path", "answer", "seconds"),
    [
        ("/openai/v1/videos/video_1", {**VIDEO, "status": "completed"}, 8),
        ("/openai/v1/video/generations/jobs/task_1", {**JOB, "status": "succeeded", "generations": [{}, {}]}, 10),
    ],
)
def test_a_complete_video_tells_its_seconds(
    upstream: Any, proxy: Any, hub: HubReader, path: str, answer: dict[str, Any], seconds: int
) -> None:
    """As units, with no tokens; a job's for each of its videos."""

    async def script(request: Seen, reply: Reply) -> None:
        await reply.json(json.dumps(answer).encode())

    with client(proxy(upstream(script).url).url) as caller:
        sent = caller.send("GET", path)
        sent.read()
    record = hub.record(sent.trace_id)
    assert (record["operation"], record["usage_source"], record["usage"]) == ("fetch_response", "reported", None)
    assert record["units"] == {"video_seconds": seconds}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({**VIDEO, "status": "failed", "error": {"code": "moderation", "message": "No."}}, "moderation"),
        ({**JOB, "status": "failed", "failure_reason": "output_moderation"}, "output_moderation"),
    ],
)
def test_a_failed_video_costs_nothing(answer: dict[str, Any], code: str) -> None:
    """It has no units, and its code."""
    call = read("videos", [json.dumps(answer).encode()])
    assert (call.error_code, call.answer.units, call.answer.usage_source) == (code, {}, "missing")


@pytest.mark.parametrize("seconds", [None, "", "x", -1, 0, True, [], 1e400])
def test_odd_seconds_are_not_counted(seconds: object) -> None:
    """Nothing is guessed."""
    call = read("videos", [json.dumps({**VIDEO, "status": "completed", "seconds": seconds}).encode()])
    assert call.answer.units == {}
