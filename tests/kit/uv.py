"""What uv is to be told when tests install with it."""

from typing import Final

SYSTEM_CERTS: Final = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
"""Trust whom the machine trusts, as pip does: an index may stand behind a proxy with a certificate of its own. The
second is the first's older name."""
