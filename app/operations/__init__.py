"""Operations: what the bodies and events of each API mean. Bytes and JSON come in, facts of the call go out; no I/O.

One file for each operation, and one for each family of paths, whose table says which path is which operation:

    FAMILIES ── OPENAI (openai.py) ── "chat/completions": Chat (chat.py)
                                   ├─ "embeddings": Embeddings (embeddings.py)
                                   └─ …; any other path is Plain, passed on unread

docs/decisions/0013 shows how an operation or a family is added: one file and one line.

Operations are named as `gen_ai.operation.name` in OpenTelemetry's GenAI semantic conventions: `chat` (for the Responses
API too, which `openai.api.type` tells apart), `text_completion` and `embeddings`. The conventions name nothing for
images and sound; `image_generation` is what instrumentations use, and the rest follows it: `image_edit`, `speech`,
`transcription`, `translation`. Everything else is a `call`.
"""

from typing import Final

from app.operations.family import Families, Family, Target
from app.operations.openai import OPENAI
from app.operations.operation import Operation, Plain

__all__ = ["FAMILIES", "Families", "Family", "Operation", "Plain", "Target"]

FAMILIES: Final = Families((OPENAI,))
