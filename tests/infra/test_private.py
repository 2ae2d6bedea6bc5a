"""What is public: with PRIVATE_NETWORK=true nothing but API Management's own address, and the registry of an image."""

from typing import Any

import pytest

from tests.infra.deployed import Deployed, Resource, deployed, every, keys_in

PRIVATE = [deployed("private"), deployed("containerapps-private")]
CLOSED = {
    "Microsoft.CognitiveServices/accounts": (
        "account",
        {"cognitiveservices.azure.com", "openai.azure.com", "services.ai.azure.com"},
    ),
    "Microsoft.EventHub/namespaces": ("namespace", {"servicebus.windows.net"}),
    "Microsoft.Storage/storageAccounts": ("blob", {"blob.core.windows.net"}),
    "Microsoft.Web/sites": ("sites", {"azurewebsites.net"}),
    "Microsoft.App/managedEnvironments": ("managedEnvironments", {"westeurope.azurecontainerapps.io"}),
    "Microsoft.Insights/privateLinkScopes": (
        "azuremonitor",
        {
            *("monitor.azure.com", "oms.opinsights.azure.com", "ods.opinsights.azure.com"),
            *("agentsvc.azure-automation.net", "blob.core.windows.net"),
        },
    ),
}
"""Type, sub-resource and zones without `privatelink.`: https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""


@pytest.mark.parametrize("each", PRIVATE, ids=lambda each: each.name)
def test_every_part_has_a_private_endpoint(each: Deployed) -> None:
    """In the network, with all its DNS names, and no part is without one."""
    endpoints = {one.name: one.properties for one in each.of_type("Microsoft.Network/privateEndpoints")}
    groups = {
        one.name.partition("/")[0]: {
            config["properties"]["privateDnsZoneId"].rpartition("/")[2].removeprefix("privatelink.")
            for config in one.properties["privateDnsZoneConfigs"]
        }
        for one in each.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    }
    reached = {}
    for name, properties in endpoints.items():
        (connection,) = properties["privateLinkServiceConnections"]
        assert properties["subnet"]["id"].endswith("/subnets/endpoints")
        reached[connection["properties"]["privateLinkServiceId"]] = (connection["properties"]["groupIds"], groups[name])
    parts = [one for kind in CLOSED for one in each.of_type(kind)]
    assert reached == {one.id: ([CLOSED[one.kind][0]], CLOSED[one.kind][1]) for one in parts}
    zones = {one.name for one in each.of_type("Microsoft.Network/privateDnsZones")}
    assert zones == {f"privatelink.{zone}" for _, found in reached.values() for zone in found}
    linked = each.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    assert {one.name.partition("/")[0] for one in linked} == zones


@pytest.mark.parametrize("each", every(), ids=lambda each: each.name)
def test_public_access_is_off_with_the_switch_only(each: Deployed) -> None:
    """Everything that can be closed is; without the switch it is open, and told so."""
    expected = "Disabled" if each in PRIVATE else "Enabled"
    for kind in set(CLOSED) - {"Microsoft.Insights/privateLinkScopes"}:
        for one in each.of_type(kind):
            assert one.properties["publicNetworkAccess"] == expected, one.name
    for kind in ("Microsoft.Insights/components", "Microsoft.OperationalInsights/workspaces"):
        for one in each.of_type(kind):
            found = (one.properties["publicNetworkAccessForIngestion"], one.properties["publicNetworkAccessForQuery"])
            assert found == (expected, expected)
    assert bool(each.of_type("Microsoft.Network/virtualNetworks")) is (each in PRIVATE)


@pytest.mark.parametrize("each", PRIVATE, ids=lambda each: each.name)
def test_nothing_else_is_public(each: Deployed) -> None:
    """No resource says that it is open, whatever its kind, and nothing calls the app from outside."""
    told = {value for one in each.resources for key, value in keys_in(one.whole) if "ublicNetworkAccess" in key}
    assert told == {"Disabled"}
    assert not each.of_type("Microsoft.Insights/webtests")


@pytest.mark.parametrize("each", PRIVATE, ids=lambda each: each.name)
def test_calls_leave_through_the_network(each: Deployed) -> None:
    """The proxy's through the subnet `app`, API Management's through `gateway`, with the delegations they need."""
    network = each.one("Microsoft.Network/virtualNetworks")
    subnets = {one["name"]: one["properties"] for one in network.properties["subnets"]}
    delegations = {name: delegation(subnet) for name, subnet in subnets.items()}
    assert delegations == {
        "app": "Microsoft.App/environments",
        "gateway": "Microsoft.Web/serverFarms",
        "endpoints": None,
    }
    gateway = each.one("Microsoft.ApiManagement/service").properties
    assert gateway["virtualNetworkType"] == "External"
    assert gateway["virtualNetworkConfiguration"]["subnetResourceId"] == f"{network.id}/subnets/gateway"
    assert subnet_of_app(each) == f"{network.id}/subnets/app"


def delegation(subnet: dict[str, Any]) -> str | None:
    return next((one["properties"]["serviceName"] for one in subnet.get("delegations", [])), None)


def subnet_of_app(each: Deployed) -> str:
    sites: list[Resource] = each.of_type("Microsoft.Web/sites")
    if sites:
        return sites[0].properties["virtualNetworkSubnetId"]
    return each.one("Microsoft.App/managedEnvironments").properties["vnetConfiguration"]["infrastructureSubnetId"]
