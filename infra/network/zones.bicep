// The private DNS zones of a network, in which its private endpoints register the names of what they reach.
import { Tags } from '../types.bicep'
param network string
param tags Tags
param names string[]

resource linked 'Microsoft.Network/virtualNetworks@2025-01-01' existing = {
  name: network
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for name in names: {
    name: name
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (name, index) in names: {
    parent: zones[index]
    name: network
    location: 'global'
    tags: tags
    properties: { registrationEnabled: false, virtualNetwork: { id: linked.id } }
  }
]
