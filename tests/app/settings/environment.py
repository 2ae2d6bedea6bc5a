"""A valid environment, and the settings or faults read from it."""

import pytest

from app.settings.settings import Settings, SettingsError

CONN_STR = "Endpoint=sb://example.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=hub-secret=="

NEEDED = {
    "AZURE_OPENAI_BASE_URL": "https://example.openai.azure.com/",
    "AZURE_EVENTHUB_CONN_STR": CONN_STR,
    "AZURE_EVENTHUB_NAME": "records",
    "PROXY_CLIENT_KEYS": "client-secret",
}


def read(**more: str) -> Settings:
    return Settings.from_environ({**NEEDED, **more})


def faults(**more: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        read(**more)
    return refused.value.faults


SECRET = "planted-secret"
