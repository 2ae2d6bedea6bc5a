"""PROXY_ENTRA_TENANT and PROXY_ENTRA_AUDIENCE: read together, each fault by its name."""

import pytest

from app.settings.settings import EntraSettings
from tests.app.settings.environment import faults, read

TENANT = "11111111-2222-3333-4444-555555555555"
AUDIENCE = "99999999-8888-7777-6666-555555555555"


def test_entra_id_is_optional() -> None:
    """Tenant and audience enable Entra ID, with client keys or without."""
    assert read().entra is None
    settings = read(PROXY_ENTRA_TENANT=TENANT, PROXY_ENTRA_AUDIENCE=f"api://{AUDIENCE}", PROXY_CLIENT_KEYS="")
    assert settings.entra == EntraSettings(TENANT, f"api://{AUDIENCE}")


@pytest.mark.parametrize(
    ("tenant", "audience", "fault"),
    [
        (TENANT, "", "PROXY_ENTRA_AUDIENCE is missing"),
        ("", AUDIENCE, "PROXY_ENTRA_TENANT is missing"),
        ("common", AUDIENCE, "PROXY_ENTRA_TENANT must be"),
        ("contoso.onmicrosoft.com", "x", "PROXY_ENTRA_TENANT must be"),
        (f"{TENANT}/../x", "x", "PROXY_ENTRA_TENANT must be"),
        (TENANT, "api://", "PROXY_ENTRA_AUDIENCE must be"),
        (TENANT, "a b", "PROXY_ENTRA_AUDIENCE must be"),
    ],
)
def test_an_invalid_tenant_or_audience_is_a_fault(tenant: str, audience: str, fault: str) -> None:
    """One without the other, a tenant that is not an id, and an invalid audience are faults."""
    (found,) = faults(PROXY_ENTRA_TENANT=tenant, PROXY_ENTRA_AUDIENCE=audience)
    assert found.startswith(fault)
