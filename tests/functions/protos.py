"""A stand-in for the worker's generated protobuf module: plain classes with what the real runtime uses."""

from collections.abc import Mapping
from typing import Any


class Message:
    """Any protobuf message: the fields that were set, and WhichOneof over them.

    Each message here has at most one group of alternatives.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def WhichOneof(self, group: str) -> str | None:
        alternatives = {"rpc_data": ["data"], "data": ["http", "string", "bytes", "json"]}[group]
        return next((name for name in alternatives if name in self.__dict__), None)


class StatusResult(Message):
    Failure, Success, Cancelled = range(3)


class BindingInfo(Message):
    out, inout = 1, 2
    undefined = 0


class TypedData(Message): ...


class RpcHttp(Message): ...


class ParameterBinding(Message): ...


class RpcException(Message): ...


class RpcTraceContext(Message): ...


class RetryContext(Message): ...


class WorkerMetadata(Message): ...


class WorkerInitResponse(Message): ...


class RpcFunctionMetadata(Message): ...


class FunctionMetadataResponse(Message): ...


class FunctionLoadResponse(Message): ...


class InvocationResponse(Message): ...


class FunctionEnvironmentReloadResponse(Message): ...


def plain(value: Any) -> Any:
    """A message as dicts, lists and scalars, for JSON."""
    if isinstance(value, Message):
        return {name: plain(field) for name, field in vars(value).items()}
    if isinstance(value, Mapping):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
