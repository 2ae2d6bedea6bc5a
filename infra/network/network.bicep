// The virtual network of a private deployment: a subnet that the proxy's calls leave through, one for API Management's,
// and one for the private endpoints. The rest of the address space is free, for those who deploy and look at telemetry.
import { Tags } from '../types.bicep'
param name string
param location string
param tags Tags

@description('At least a /24.')
param addresses string

@description('Whether API Management is of a classic tier, which is injected into its subnet; the v2 tiers are integrated.')
param classicGateway bool

// https://learn.microsoft.com/azure/api-management/virtual-network-reference
var classicRules = [
  { name: 'clients', from: 'Internet', ports: ['443'] }
  { name: 'management', from: 'ApiManagement', ports: ['3443'] }
  { name: 'load-balancer', from: 'AzureLoadBalancer', ports: ['6390'] }
]

resource gatewayRules 'Microsoft.Network/networkSecurityGroups@2025-01-01' = {
  name: '${name}-gateway'
  location: location
  tags: tags
  properties: {
    securityRules: [
      for (rule, index) in (classicGateway ? classicRules : []): {
        name: rule.name
        properties: {
          priority: 100 + index
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: rule.from
          sourcePortRange: '*'
          destinationAddressPrefix: 'VirtualNetwork'
          destinationPortRanges: rule.ports
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-01-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addresses] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addresses, 26, 0)
          // both Flex Consumption and Container Apps
          delegations: [{ name: 'app', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'gateway'
        properties: {
          addressPrefix: cidrSubnet(addresses, 27, 2)
          networkSecurityGroup: { id: gatewayRules.id }
          delegations: classicGateway
            ? []
            : [{ name: 'gateway', properties: { serviceName: 'Microsoft.Web/serverFarms' } }]
        }
      }
      {
        name: 'endpoints'
        properties: { addressPrefix: cidrSubnet(addresses, 27, 3) }
      }
    ]
  }
}
