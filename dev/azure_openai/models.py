"""Models: the list of models that the resource offers."""

from dev.azure_openai.model_request import MODELS, ModelRequest
from dev.azure_openai.shapes import Json, Reply, Whole, encode

_CREATED = 1_741_000_000


def models(request: ModelRequest) -> Reply:
    """Respond to one request."""
    return Whole(encode({"data": [_model(name) for name in MODELS.values()], "object": "list"}))


def _model(name: str) -> Json:
    embeds = name.startswith("text-embedding-")
    capabilities = {
        "fine_tune": False,
        "inference": True,
        "completion": not embeds,
        "chat_completion": not embeds,
        "embeddings": embeds,
    }
    return {
        "status": "succeeded",
        "capabilities": capabilities,
        "lifecycle_status": "generally-available",
        "id": name,
        "created": _CREATED,
        "created_at": _CREATED,
        "updated_at": _CREATED,
        "object": "model",
        "owned_by": "system",
    }
