"""The model inference API's family of paths, `/models/…`: the other models on the same resource."""

from typing import Final

from app.operations.chat import Chat
from app.operations.embeddings import Embeddings
from app.operations.family import Family, Target
from app.operations.openai import error_body


def target_of(path: str) -> Target:
    """The path after the prefix. Its versions are the clients' own: none is added."""
    return Target(path.removeprefix("/models/").removesuffix("/"), takes_api_version=False)


MODELS: Final = Family(
    name="models",
    prefix="/models/",
    operations={"chat/completions": Chat(), "embeddings": Embeddings(), "images/embeddings": Embeddings()},
    target=target_of,
    error_body=error_body,
    sessions=frozenset(),
    key_headers=(b"api-key",),
    provider="azure.ai.inference",
)
