"""Every attribute and event name on a call's span: the contract between the span and the record.

The `gen_ai.*`, `openai.*`, `server.*` and `error.*` names are OpenTelemetry's GenAI semantic conventions (status
Development); those under `proxy.*` are ours. Attributes in `CONTENT` may hold what people or models wrote.
"""

from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

SCOPE: Final = "azure_openai_proxy"
"""Instrumentation scope of the call spans: how a processor tells them from any other span."""

# Events
FIRST_CHUNK: Final = "gen_ai.first_chunk"
FIRST_TOKEN: Final = "gen_ai.first_token"
END_OF_STREAM: Final = "gen_ai.end_of_stream"
ATTEMPT: Final = "proxy.attempt"

# GenAI semantic conventions: the request
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
SYSTEM: Final = "gen_ai.system"
PROVIDER: Final = "azure.ai.openai"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
OUTPUT_TYPE: Final = "gen_ai.output.type"
API_TYPE: Final = "openai.api.type"

# GenAI semantic conventions: the response
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
RESPONSE_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# The call
CALL_ID: Final = "proxy.call.id"
STATUS: Final = "proxy.status"
REFUSED: Final = "refused"  # a status: the call has no record
DEPLOYMENT: Final = "proxy.deployment"
API_VERSION: Final = "proxy.api_version"
REGION: Final = "proxy.region"
BACKEND: Final = "proxy.backend"
ATTEMPTS: Final = "proxy.attempts"
HTTP_STATUS: Final = "proxy.http_status"
SPILLED_OVER: Final = "proxy.spilled_over"
APIM_REQUEST_ID: Final = "proxy.apim_request_id"
CLIENT_REQUEST_ID: Final = "proxy.client_request_id"
ERROR_CODE: Final = "proxy.error.code"
ERROR_MESSAGE: Final = "proxy.error.message"
CONTENT_CAPTURED: Final = "proxy.content_captured"
REQUEST_BYTES: Final = "proxy.request.bytes"
RESPONSE_BYTES: Final = "proxy.response.bytes"
CHUNKS: Final = "proxy.chunks"
LATENCY_MS: Final = "proxy.latency_ms"
TIME_TO_FIRST_CHUNK_MS: Final = "proxy.time_to_first_chunk_ms"
TIME_TO_FIRST_TOKEN_MS: Final = "proxy.time_to_first_token_ms"
USAGE: Final = "proxy.usage"  # JSON: upstream's counts by the record's names, details included
FETCHED_USAGE: Final = "proxy.fetched.usage"  # JSON: what a fetched response used, which is not this call's
FETCHED_BACKGROUND: Final = "proxy.fetched.background"  # that it was made in the background, and is not counted yet
USAGE_SOURCE: Final = "proxy.usage_source"
CONTENT_FILTER: Final = "proxy.content_filter"  # JSON
CONTENT_BYTES: Final = "proxy.content_bytes"  # of the whole text, where a part is kept
TRUNCATED: Final = "proxy.truncated"
AUDIO_ID: Final = "proxy.answer.audio_id"
REQUEST_ID: Final = "proxy.request_id"
PREVIOUS_RESPONSE_ID: Final = "proxy.previous_response_id"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
RESPONSE_STATUS: Final = "proxy.response_status"
SERVED_BY: Final = "proxy.served_by"
SPILLED_FROM: Final = "proxy.spilled_from"
RATE_LIMIT: Final = "proxy.rate_limit"  # JSON
UPSTREAM_MS: Final = "proxy.upstream_ms"
HOSTED_CALLS: Final = "proxy.hosted_calls"  # JSON
UNITS: Final = "proxy.units"  # JSON: what is billed by other units than tokens
CALLER: Final = "proxy.caller."  # followed by the field's name

SAMPLE_RATE: Final = "_MS.sampleRate"
"""Azure Monitor's, in per cent: its ingestion counts each envelope 100/rate times."""

# Content
PROMPT: Final = "proxy.prompt"  # JSON, as the client sent it
INSTRUCTIONS: Final = "proxy.prompt.instructions"  # JSON
CONNECTION_ID: Final = "proxy.connection_id"  # of a WebSocket session, one for all its calls
SESSION_ID: Final = "proxy.session_id"  # the service's
TIME_TO_FIRST_AUDIO_MS: Final = "proxy.time_to_first_audio_ms"
MEMBERS: Final = "proxy.prompt.request"  # JSON: the body's other members, reduced where content is not captured
ANSWER: Final = "proxy.answer"  # text of choice 0
TOOL_CALLS: Final = "proxy.answer.tool_calls"  # JSON
CHOICES: Final = "proxy.answer.choices"  # JSON
REFUSAL: Final = "proxy.answer.refusal"
REASONING: Final = "proxy.answer.reasoning"

CONTENT: Final = frozenset(
    {PROMPT, INSTRUCTIONS, MEMBERS, ANSWER, TOOL_CALLS, CHOICES, REFUSAL, REASONING, ERROR_MESSAGE}
)


def facts_of(span: ReadableSpan) -> Mapping[str, AttributeValue]:
    """A span's attributes as a plain dict: every lookup in the SDK's own mapping runs Python code."""
    copy = getattr(span.attributes, "copy", None)
    return copy() if copy else span.attributes or {}


def known(facts: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    """The attributes that are not None."""
    return {name: value for name, value in facts.items() if value is not None}
