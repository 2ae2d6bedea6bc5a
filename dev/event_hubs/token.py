"""Tokens put to `$cbs`: shared access signatures, which are verified, and JSON web tokens, which are not."""

import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote_plus, urlsplit

SAS: Final = "servicebus.windows.net:sastoken"
JWT: Final = "jwt"
_SAS_PREFIX = "SharedAccessSignature "


class TokenRefused(Exception):
    """The token does not authorise; the message is the service's."""


@dataclass(frozen=True, slots=True)
class SharedKey:
    name: str
    key: str

    def authorise(self, kind: str, token: str, audience: str, now: float) -> str:
        """Check a token for an audience such as sb://localhost:5672/records; return the path that it covers.

        Any JWT is accepted, as there is no Entra ID to verify it. Raises TokenRefused.
        """
        if not token:
            raise TokenRefused("InvalidToken: The token is empty.")
        path = urlsplit(audience).path.strip("/").lower()
        if kind == SAS:
            self._check(token, path, now)
        elif kind != JWT:
            raise TokenRefused(f"InvalidTokenType: Tokens of type {kind!r} are not accepted.")
        return path

    def _check(self, token: str, path: str, now: float) -> None:
        if not token.startswith(_SAS_PREFIX):
            raise TokenRefused("MalformedToken: The token is not a shared access signature.")
        query = token.removeprefix(_SAS_PREFIX)
        quoted = dict(field.split("=", 1) for field in query.split("&") if "=" in field)
        fields = dict(parse_qsl(query))
        # The signature covers the expiry and the resource as quoted in the token.
        signed = f"{quoted.get('sr', '')}\n{quoted.get('se', '')}".encode()
        signature = b64encode(hmac.digest(self.key.encode(), signed, "sha256"))
        genuine = hmac.compare_digest(signature, fields.get("sig", "").encode())
        # azure-eventhub quotes the name of the policy twice.
        if not genuine or unquote_plus(fields.get("skn", "")) != self.name:
            raise TokenRefused("InvalidSignature: The token has an invalid signature.")
        expiry = fields.get("se", "")
        if not expiry.isdecimal() or int(expiry) <= now:
            raise TokenRefused("ExpiredToken: The token is expired.")
        if not covers(urlsplit(fields.get("sr", "")).path.strip("/").lower(), path):
            raise TokenRefused("InvalidAudience: The token is for another audience.")


def covers(authorised: str, path: str) -> bool:
    """Whether a token for the path `authorised` covers `path`: that path and everything below it."""
    return not authorised or path == authorised or path.startswith(f"{authorised}/")
