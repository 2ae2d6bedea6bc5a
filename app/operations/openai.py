"""OpenAI's family of paths, `/openai/…`: its operations, paths and error shape.

/openai/deployments/{deployment}/{suffix}?api-version=…     Azure OpenAI's own
/openai/v1/{suffix}                                         the v1 API, which has no api-version
/openai/{suffix}?api-version=…                              responses, files, batches, …
"""

import re
from typing import Final

import orjson

from app.errors import ProxyError
from app.operations.audio import Speech, Transcription, Translation
from app.operations.batches import Batch, FetchBatch
from app.operations.chat import Chat
from app.operations.completions import Completions
from app.operations.embeddings import Embeddings
from app.operations.family import Family, Target
from app.operations.images import ImageEdit, ImageGeneration
from app.operations.responses import FetchResponse, Responses
from app.operations.runs import FetchRun, Run
from app.operations.videos import FetchVideo, Video, VideoJob

# Azure ignores the case of what follows the prefix, and a slash at its end
_PATH: Final = re.compile(
    r"/openai(?:/(?P<v1>v1))?(?:/deployments/(?P<deployment>[^/]+))?(?:/(?P<suffix>.*?))?/?", re.IGNORECASE
)


def target_of(path: str) -> Target:
    """Parse a decoded path; raises ValueError for one that is not under /openai/."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(path)
    return Target(found["suffix"] or "", found["deployment"], takes_api_version=found["v1"] is None)


def error_body(error: ProxyError) -> bytes:
    """`{"error": {"message", "type", "code", "param"}}`, as all OpenAI clients read it."""
    members = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    return orjson.dumps({"error": members})


OPENAI: Final = Family(
    name="openai",
    prefix="/openai/",
    operations={
        "chat/completions": Chat(),
        "completions": Completions(),
        "embeddings": Embeddings(),
        "responses": Responses(),
        "responses/compact": Responses(),
        "images/generations": ImageGeneration(),
        "images/edits": ImageEdit(),
        "audio/speech": Speech(),
        "audio/transcriptions": Transcription(),
        "audio/translations": Translation(),
        "threads/runs": Run(),
        "threads/*/runs": Run(),
        "threads/*/runs/*/submit_tool_outputs": Run(),
        "batches": Batch(),
        "videos": Video(),
        "video/generations/jobs": VideoJob(),
    },
    stored={
        "responses/*": FetchResponse(),
        "threads/*/runs/*": FetchRun(),
        "batches/*": FetchBatch(),
        "videos/*": FetchVideo(),
        "video/generations/jobs/*": FetchVideo(),
    },
    target=target_of,
    error_body=error_body,
    sessions=frozenset({"/openai/realtime", "/openai/v1/realtime", "/openai/v1/responses"}),
    key_headers=(b"api-key",),
)
