"""Client keys: which are accepted, and in which headers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.door.auth import ClientKeys
from app.errors import Unauthorized

KEYS = ClientKeys(["key-one", "key-two", "schlüssel"])


def lets_in(*headers: tuple[bytes, bytes], keys: ClientKeys = KEYS) -> bool:
    try:
        keys.check(headers, [b"api-key"])
    except Unauthorized:
        return False
    return True


@pytest.mark.parametrize(
    "header",
    [
        (b"api-key", b"key-one"),
        (b"api-key", b"key-two"),
        (b"authorization", b"Bearer key-one"),
        (b"authorization", b"bearer key-two"),
        (b"authorization", b"BEARER   key-one "),
        (b"api-key", "schlüssel".encode()),
        (b"api-key", "schlüssel".encode("latin-1")),
        (b"authorization", b"Bearer " + "schlüssel".encode()),
    ],
)
def test_a_known_key_is_accepted(header: tuple[bytes, bytes]) -> None:
    """Any of the keys, as api-key or bearer token, whatever the scheme's case and the header's encoding."""
    assert lets_in((b"accept", b"x"), header)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"api-key", b"")],
        [(b"api-key", b"key-on")],
        [(b"api-key", b"key-one2")],
        [(b"api-key", b"KEY-ONE")],
        [(b"api-key", b"key-one,key-two")],
        [(b"api-key", b"Bearer key-one")],
        [(b"api-key", b"\xff\x00\xfe")],
        [(b"authorization", b"key-one")],
        [(b"authorization", b"Basic key-one")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearerkey-one")],
        [(b"authorization", b"Bearer key-one key-two")],
        [(b"x-api-key", b"key-one")],
        [(b"ocp-apim-subscription-key", b"key-one")],
    ],
)
def test_anything_else_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """Part of a key, a key in another header or scheme, or no key."""
    assert not lets_in(*headers)


def test_one_good_credential_is_enough() -> None:
    """SDKs may send two: a wrong one does not invalidate the right one."""
    assert lets_in((b"api-key", b"wrong"), (b"authorization", b"Bearer key-one"))
    assert lets_in((b"api-key", b"key-one"), (b"authorization", b"Bearer wrong"))
    assert not lets_in((b"api-key", b"wrong"), (b"authorization", b"Bearer wrong"))


def test_without_keys_everyone_may_call() -> None:
    """Settings require that the operator asked for this."""
    assert lets_in(keys=ClientKeys([]))


@settings(deadline=None)
@given(st.binary(max_size=12), st.sampled_from([b"api-key", b"authorization"]))
def test_any_bytes_are_refused_without_repeating_them(value: bytes, name: bytes) -> None:
    """No header value raises anything but the refusal."""
    with pytest.raises(Unauthorized, match=r"^Access denied: "):
        KEYS.check([(name, value)], [b"api-key"])
