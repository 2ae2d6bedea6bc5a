"""CallerFields: who a caller is, by headers, baggage and members of a JSON body."""

from hypothesis import given
from hypothesis import strategies as st

from app.door.caller import LONGEST, CallerFields

NAMES = {"user_id": "x-apim-user-id", "product": "x-apim-product", "session_id": "x-session-id"}
BAGGAGE = CallerFields({"team": "baggage.team", "shop": "baggage.Cost-Centre", "user_id": "x-user"}, {})


def test_fields_come_from_their_headers() -> None:
    """An empty or absent header gives no field."""
    headers = [(b"x-apim-user-id", "Zoë".encode()), (b"x-apim-product", b""), (b"x-other", b"1")]
    assert CallerFields(NAMES, {}).of_headers(headers) == {"user_id": "Zoë"}


def test_fields_come_from_members_of_baggage() -> None:
    """Keys have a case, values are percent-encoded, properties are left out, the first value of a key counts."""
    headers = [
        (b"baggage", b"Team=no, team = b%C3%BC+ro ;ttl=5;secret,Cost-Centre=a=b"),
        (b"x-user", b"someone"),
        (b"baggage", b"team=second,user_id=spoofed"),
    ]
    assert BAGGAGE.of_headers(headers) == {"team": "bü+ro", "shop": "a=b", "user_id": "someone"}
    assert BAGGAGE.headers == {b"baggage", b"x-user"}
    assert b"baggage" not in CallerFields(NAMES, {}).headers


@given(st.lists(st.tuples(st.sampled_from([b"baggage", b"x-user"]), st.binary())))
def test_any_headers_are_read(headers: list[tuple[bytes, bytes]]) -> None:
    """Malformed baggage gives no field, and no error."""
    assert all(value for value in BAGGAGE.of_headers(headers).values())


def test_fields_come_from_members_of_a_body() -> None:
    """Texts and numbers count, long texts are cut; objects, booleans, nulls and absent members do not."""
    paths = {"end_user": ("user",), "team": ("metadata", "team"), "rank": ("metadata", "rank"), "gone": ("user", "x")}
    fields = CallerFields({}, paths)
    assert fields.of_body({"user": "u-1", "metadata": {"team": "red", "rank": 7}}) == {
        "end_user": "u-1",
        "team": "red",
        "rank": "7",
    }
    assert fields.of_body({"user": {"name": 1}, "metadata": {"team": True, "rank": None}}) == {}
    assert fields.of_body({"user": "", "metadata": []}) == {}
    assert fields.of_body({"user": "x" * (LONGEST + 1)}) == {"end_user": "x" * LONGEST}
