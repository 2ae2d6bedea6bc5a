"""Forms of audio and images: they pass as they are, go where their model is, and their small fields are recorded."""

import json
from typing import Any

import pytest

from tests.app.relay.several import NAMES, Proxied
from tests.kit.hub import HubReader
from tests.kit.proxy import KEY
from tests.kit.wire import Client

PART = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="model"\r\n\r\n%b\r\n' % (b"\r\n--x\0" * 50_000)


@pytest.mark.parametrize("path", ["/openai/v1/audio/transcriptions", "/openai/v1/images/edits"])
@pytest.mark.parametrize("order", ["model first", "file first"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_goes_to_a_backend_with_its_model(
    proxied: Proxied, caller: Client, hub: HubReader, path: str, order: str, chunked: bool
) -> None:
    """Its bytes stay as they are, wherever the model is named; the record has the model and the prompt."""
    for name in NAMES:
        fields = [PART % (b"model", f"on-{name}".encode()), FILE, PART % (b"prompt", b"A \xc3\xb6")]
        form = b"".join(fields if order == "model first" else reversed(fields)) + b"--b--\r\n"
        body: Any = (form[at : at + 5000] for at in range(0, len(form), 5000)) if chunked else form
        answer = caller.send("POST", path, body, content_type='multipart/form-data; boundary="b"')
        assert json.loads(answer.read())["text"] == name
        (seen,) = [one for server in proxied.servers for one in server.seen[-1:] if one.body == form]
        assert seen.header("content-type") == 'multipart/form-data; boundary="b"'
        for server in proxied.servers:
            server.seen.clear()
        record = hub.record(answer.trace_id)
        assert (record["model"], record["deployment"], record["prompt"]) == (f"on-{name}", f"on-{name}", "A ö")


@pytest.mark.parametrize("body", [b"no form", b"", b'--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n'])
def test_what_is_no_form_passes(proxied: Proxied, caller: Client, body: bytes) -> None:
    """Any backend may decide about it."""
    answer = caller.send(
        "POST", "/openai/v1/audio/transcriptions", body, content_type="multipart/form-data; boundary=b"
    )
    assert json.loads(answer.read())["text"] in NAMES


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=" + "b" * 300, "multipart/form-data; boundary=b; x=€"]
)
def test_a_form_with_an_odd_content_type_passes(proxied: Proxied, caller: Client, content_type: str) -> None:
    """It is not read; upstream decides."""
    headers: dict[str, Any] = {"api-key": KEY, "content-type": content_type.encode()}
    caller.connection.request("POST", "/openai/v1/audio/transcriptions", b"--b--", headers)
    assert caller.connection.getresponse().status == 200
