"""IdentityClient: a client of the hub that closes its credential with itself.

The library leaves that to whoever created the credential, and here a client is replaced after every failure.
"""

from typing import Any

from azure.eventhub.aio import EventHubProducerClient


class IdentityClient(EventHubProducerClient):
    """Signs in to Entra ID with the process's own identity."""

    def __init__(self, namespace: str, **options: Any) -> None:
        """`namespace` is fully qualified; `options` are the producer's own."""
        from azure.identity.aio import DefaultAzureCredential

        self._identity = DefaultAzureCredential()
        super().__init__(fully_qualified_namespace=namespace, credential=self._identity, **options)

    async def close(self, **options: Any) -> None:
        """Close both."""
        try:
            await super().close(**options)
        finally:
            await self._identity.close()
