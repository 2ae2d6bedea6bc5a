"""A factory for uvicorn: the proxy in a process that would never exit."""

import atexit
import re

from app.main import create_app as create_proxy
from app.proxy_app import ProxyApp


def create_app() -> ProxyApp:
    """The proxy. At exit an endless regular expression search holds the GIL."""
    atexit.register(re.search, "(a+)+b", "a" * 1_000)
    return create_proxy()
