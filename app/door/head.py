"""What a head must tell before its request may begin, and httptools does not ask for."""

from app.errors import BadHead, ProxyError, UnknownCoding
from app.headers import RawHeaders


def head_fault(version: str, headers: RawHeaders) -> ProxyError | None:
    """Why servers could read a head in different ways, or None. `headers` has names in lower case.

    RFC 9112: the version (§2.3), at most one host (§3.2), and chunks if any transfer-encoding (§6.1, §6.3).
    """
    if version not in ("1.1", "1.0"):
        return BadHead("HTTP/1.1 and HTTP/1.0 are served here.")
    names = [name for name, _ in headers]
    if names.count(b"host") > 1:  # without one there is nothing to confuse: simple probes send none
        return BadHead("A request must have one host header.")
    return _coding_fault(version, headers) if b"transfer-encoding" in names else None


def _coding_fault(version: str, headers: RawHeaders) -> ProxyError | None:
    values = b",".join([value for name, value in headers if name == b"transfer-encoding"])
    codings = [coding.strip().lower() for coding in values.split(b",")]
    if version == "1.0" or codings[-1] != b"chunked" or b"chunked" in codings[:-1]:
        return BadHead("The request's transfer-encoding does not tell where its body ends.")
    return UnknownCoding("The only transfer-encoding taken here is chunked.") if len(codings) > 1 else None
