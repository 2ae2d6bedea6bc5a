"""Videos: made by one call, and billed by their seconds once a fetch tells that they are complete."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Final

from app.operations.operation import Json, Operation
from app.operations.wire import as_list, as_text, form_request, json_of, parameters
from otel import attributes as a
from otel.call import FETCH, Answer, Request

_ENDED: Final = frozenset({"completed", "succeeded", "failed", "cancelled"})


class Video(Operation):
    """`POST …/videos`: a form, whose reference image passes unread."""

    name = "video_generation"
    api_type = "videos"
    json_body = False
    form = True
    billed_by_units = True
    makes_object = True
    answer_members = frozenset({"object", "status"})

    def read_form(self, fields: Mapping[str, str]) -> Request:
        """Model and prompt."""
        request = form_request(fields)
        return replace(request, parameters={**request.parameters, a.OUTPUT_TYPE: "video"})

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Identity and state, and the seconds of a video, or of a job's videos, that is complete."""
        answer.id = as_text(body.get("id"))
        answer.model = as_text(body.get("model"))
        answer.status = as_text(body.get("status"))
        answer.background = True
        answer.pending = answer.status not in _ENDED
        seconds = _number(body.get("seconds", body.get("n_seconds")))
        if seconds and answer.status in ("completed", "succeeded"):
            videos = len(as_list(body["generations"])) if "generations" in body else 1
            answer.units["video_seconds"] = seconds * videos

    def error_of(self, body: Json) -> object:
        """The error of a video, or the reason for a job's failure."""
        if body.get("status") == "failed":
            return body.get("error") or {"code": as_text(body.get("failure_reason")) or "failed"}
        return body.get("error") or None


class VideoJob(Video):
    """`POST …/video/generations/jobs`, Azure's own, in JSON; a job makes several videos."""

    json_body = True
    form = False

    def recorded_apart(self, body: Json) -> Set[str]:
        """The prompt."""
        return {"prompt"}

    def read_request(self, body: Json) -> Request:
        """Model and prompt."""
        wanted = {**parameters(body), a.OUTPUT_TYPE: "video"}
        return Request(model=as_text(body.get("model")), prompt=json_of(body, "prompt"), parameters=wanted)


class FetchVideo(Video):
    """`GET …/videos/{id}` and `…/video/generations/jobs/{id}`."""

    name = FETCH
    form = False
    names_object = True
    makes_object = False


def _number(value: object) -> float | None:
    """Seconds as a number, which one of the APIs writes as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
