// A private endpoint, and the names under which it is found.
import { Tags, Target } from '../types.bicep'
param network string
param location string
param tags Tags
param target Target

resource subnet 'Microsoft.Network/virtualNetworks/subnets@2025-01-01' existing = {
  name: '${network}/endpoints'
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' existing = [
  for zone in target.zones: {
    name: zone
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-01-01' = {
  name: 'pe-${target.name}'
  location: location
  tags: tags
  properties: {
    subnet: { id: subnet.id }
    privateLinkServiceConnections: [
      {
        name: target.name
        properties: { privateLinkServiceId: target.id, groupIds: [target.group] }
      }
    ]
  }
}

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-01-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      for (zone, index) in target.zones: {
        name: replace(zone, '.', '-')
        properties: { privateDnsZoneId: zones[index].id }
      }
    ]
  }
}
