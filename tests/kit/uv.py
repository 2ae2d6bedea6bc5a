"""Environment variables for uv in tests."""

from typing import Final

SYSTEM_CERTS: Final = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
"""Trust the machine's certificates, as pip does: an index may be behind a proxy with its own certificate. The second
is the older name of the first."""
