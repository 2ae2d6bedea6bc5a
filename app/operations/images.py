"""Images, generated and edited: prompts and usage, never the images or links to them."""

from collections.abc import Mapping, Set
from dataclasses import replace

from app.operations.content_filter import note_verdict
from app.operations.operation import Json, Operation, StreamReader
from app.operations.room import Room
from app.operations.wire import as_list, as_object, as_text, form_request, json_of, parameters, read_usage
from otel import attributes as a
from otel.call import Answer, Choice, Request


class ImageGeneration(Operation):
    """`POST …/images/generations`, JSON and server-sent events.

    The prompt as revised by DALL·E is the only generated text, so it is the content.
    """

    name = "image_generation"
    billed_by_units = True
    answer_members = frozenset({"data", "usage"})

    def recorded_apart(self, body: Json) -> Set[str]:
        """The prompt."""
        return {"prompt"}

    def read_request(self, body: Json) -> Request:
        """Model, prompt, stream and the number of images."""
        return Request(
            model=as_text(body.get("model")),
            stream=body.get("stream") is True,
            prompt=json_of(body, "prompt"),
            parameters={**parameters(body), a.OUTPUT_TYPE: "image"},
        )

    def read_answer(self, body: Json, answer: Answer) -> None:
        """Usage, revised prompts and filter verdicts."""
        answer.usage = read_usage(body.get("usage"))
        if answer.usage is None and (images := as_list(body.get("data"))):
            answer.units["images"] = len(images)
        for index, entry in enumerate(as_list(body.get("data"))):
            image = as_object(entry)
            note_verdict(answer.content_filter, "prompt", image.get("prompt_filter_results"))
            note_verdict(answer.content_filter, "completion", image.get("content_filter_results"))
            if revised := as_text(image.get("revised_prompt")):
                answer.choices.append(Choice(index=index, content=revised))

    def stream(self) -> StreamReader:
        """A reader of partial and completed images."""
        return _ImageStream()


class ImageEdit(ImageGeneration):
    """`POST …/images/edits`: a form, whose images pass unread; the answer is that of a generation."""

    name = "image_edit"
    json_body = False
    form = True

    def read_form(self, fields: Mapping[str, str]) -> Request:
        """Model, prompt and stream."""
        request = form_request(fields)
        return replace(request, parameters={**request.parameters, a.OUTPUT_TYPE: "image"})


class _ImageStream(StreamReader):
    """Looks for `….completed`, which comes once per image and has the usage."""

    def __init__(self) -> None:
        self.room = Room()
        self._last: Json | None = None
        self._count = 0

    def event(self, event: Json) -> bool:
        if event.get("type") in ("image_generation.completed", "image_edit.completed"):
            self._last = event
            self._count += 1
        return False

    def finish(self, answer: Answer) -> bool:
        if self._last is None:
            return False
        answer.usage = read_usage(self._last.get("usage"))
        if answer.usage is None:
            answer.units["images"] = self._count
        return True
