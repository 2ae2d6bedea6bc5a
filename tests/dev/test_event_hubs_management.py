"""The `$management` node of the stand-in for Event Hubs, with requests like those of other languages' clients."""

import gc
import hmac
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from dev.event_hubs import amqp
from dev.event_hubs.amqp_values import Described, Int, ULong, encode
from dev.event_hubs.message import Message, read
from dev.event_hubs.process import BrokerProcess
from tests.dev.event_hubs_client import Wire

HUB = {"operation": "READ", "type": "com.microsoft:eventhub", "name": "records"}
PARTITION = {**HUB, "type": "com.microsoft:partition", "partition": "0"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("hub"), "--partitions", "1") as started:
        yield started
    gc.collect()


def sas(path: str, key: str = "SAS_KEY_VALUE") -> str:
    """A shared access signature for a path of the namespace."""
    resource, expiry = quote(f"sb://localhost/{path}", safe=""), "4102444800"
    signature = b64encode(hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), "sha256")).decode()
    name = "RootManageSharedAccessKey"
    return f"SharedAccessSignature sr={resource}&sig={quote(signature, safe='')}&se={expiry}&skn={name}"


def send(broker: BrokerProcess, authorised: Any = False, **request: str) -> Message:
    """Send a request, by default on a connection without a token; the reply link has a name and no target."""
    with Wire(broker, authorised=authorised) as wire:
        node = Described(ULong(0x28), ["$management"])
        wire.send(amqp.Attach("replies", 2, True, source=node, target=Described(ULong(0x29), [None])))
        wire.send(amqp.Attach("requests", 1, False, target=Described(ULong(0x29), ["$management"])))
        wire.flow(handle=2, delivery_count=0, link_credit=1)
        properties: list[Any] = ["id-1", None, None, None, "replies"]
        message = encode(Described(ULong(0x73), properties)) + encode(Described(ULong(0x74), dict(request)))
        wire.send(amqp.Transfer(1, 0, b"tag", 0, True), message)
        return read(wire.next(amqp.Transfer)[1])


@pytest.mark.parametrize("token", [sas("records"), sas(""), "eyJ.a.b"], ids=["hub", "namespace", "bearer"])
@pytest.mark.parametrize("request_", [HUB, PARTITION], ids=["hub", "partition"])
def test_a_request_may_carry_its_token(broker: BrokerProcess, request_: dict[str, str], token: str) -> None:
    """A token within the request authorises it; the reply link is found by its name."""
    reply = send(broker, **request_, security_token=token)
    assert reply.application_properties["status-code"] == 200
    assert isinstance(reply.value, dict)
    assert reply.value["type"] == request_["type"]


def test_properties_include_what_only_some_clients_require(broker: BrokerProcess) -> None:
    """Go requires `georeplication_factor`, Rust the epochs of a partition; all are AMQP ints."""
    token = sas("records")
    hub, partition = send(broker, **HUB, security_token=token), send(broker, **PARTITION, security_token=token)
    assert typed(hub, "georeplication_factor") == (Int, 1)
    assert typed(partition, "begin_sequence_number_epoch") == (Int, -1)
    assert typed(partition, "last_enqueued_sequence_number_epoch") == (Int, -1)


def typed(reply: Message, name: str) -> tuple[type, object]:
    """The AMQP type and value of a property."""
    assert isinstance(reply.value, dict)
    return type(reply.value[name]), reply.value[name]


REFUSED = {"empty": "", "wrong key": sas("records", "wrong"), "other hub": sas("other"), "no token": "not a token"}


@pytest.mark.parametrize("authorised", [False, True])
@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_a_token_that_does_not_cover_the_hub_is_refused(broker: BrokerProcess, token: str, authorised: bool) -> None:
    """A request's own token decides, whatever its connection may do; the condition tells clients not to retry."""
    reply = send(broker, authorised, **HUB, security_token=token)
    assert reply.application_properties["status-code"] == 401
    assert reply.application_properties["error-condition"] == "amqp:unauthorized-access"
    assert reply.value is None


def test_unknown_names_have_conditions_of_their_own(broker: BrokerProcess) -> None:
    """An unknown hub and an unknown partition are distinguishable from a refusal."""
    other = {**HUB, "name": "other", "security_token": sas("other")}
    assert send(broker, **other).application_properties["error-condition"] == "amqp:not-found"
    partition = {**PARTITION, "partition": "9", "security_token": sas("records")}
    condition = send(broker, **partition).application_properties["error-condition"]
    assert condition == "com.microsoft:argument-out-of-range"
