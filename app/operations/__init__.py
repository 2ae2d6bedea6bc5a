"""One file per Azure OpenAI operation: bodies and events become facts of the call. No I/O.

The names are `gen_ai.operation.name` by OpenTelemetry's GenAI semantic conventions: `chat` (for the Responses API too,
which `openai.api.type` tells apart), `text_completion` and `embeddings`. The conventions name nothing for images and
sound; `image_generation` is what instrumentations use, and the rest follows it: `image_edit`, `speech`,
`transcription`, `translation`. Everything else is a `call`.
"""

from app.operations.audio import Speech, Transcription, Translation
from app.operations.chat import Chat
from app.operations.completions import Completions
from app.operations.embeddings import Embeddings
from app.operations.images import ImageEdit, ImageGeneration
from app.operations.operation import Operation, Plain, Target, target_of
from app.operations.responses import Responses

__all__ = ["Chat", "Operation", "Plain", "Target", "find_operation", "target_of"]

_BY_SUFFIX: dict[str, Operation] = {
    "chat/completions": Chat(),
    "completions": Completions(),
    "embeddings": Embeddings(),
    "responses": Responses(),
    "images/generations": ImageGeneration(),
    "images/edits": ImageEdit(),
    "audio/speech": Speech(),
    "audio/transcriptions": Transcription(),
    "audio/translations": Translation(),
}
_PLAIN = Plain()


def find_operation(target: Target) -> Operation:
    """The operation a path asks for; one that only passes bytes on where none is known."""
    return _BY_SUFFIX.get(target.suffix, _PLAIN)
