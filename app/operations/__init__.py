"""Operations: how to read the bodies and events of each API. JSON in, facts of the call out; no I/O.

One file per operation, and one per family of paths, with a table from path to operation:

    FAMILIES ── OPENAI (openai.py) ── "chat/completions": Chat (chat.py)
                                   ├─ "embeddings": Embeddings (embeddings.py)
                                   └─ …; any other path is Plain and passes unread
             ── ANTHROPIC (anthropic.py) ── "v1/messages": Messages (messages.py)
             └─ MODELS (models.py)

Beside them: how bodies are read at all, decoding.py (content-encodings), json_text.py (JSON), wire.py (its values).

docs/decisions/0013 shows how to add an operation or a family: one file and one line.

Names are those of `gen_ai.operation.name` in OpenTelemetry's GenAI semantic conventions: `chat` (also for the Responses
API; `openai.api.type` tells them apart), `text_completion`, `embeddings` and `invoke_agent`. The conventions have no
names for images and audio: `image_generation` is what instrumentations use, and `image_edit`, `video_generation`,
`speech`, `transcription` and `translation` follow it. Everything else is a `call`.
"""

from typing import Final

from app.operations.anthropic import ANTHROPIC
from app.operations.family import Families, Family, Target
from app.operations.models import MODELS
from app.operations.openai import OPENAI
from app.operations.operation import Operation, Plain

__all__ = ["FAMILIES", "Families", "Family", "Operation", "Plain", "Target"]

FAMILIES: Final = Families((OPENAI, ANTHROPIC, MODELS))
