// A new API Management service. Creating Basic, Standard or Premium takes over half an hour; the v2 tiers take minutes.
import { Tags } from 'types.bicep'
param name string
param location string
param tags Tags
param sku string
param publisherEmail string
param publisherName string

@description('Subnet through which it reaches the proxy. Clients still come by its public address. Empty: none.')
param subnetId string

resource service 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku, capacity: 1 }
  identity: { type: 'SystemAssigned' }
  properties: {
    publisherEmail: publisherEmail
    publisherName: publisherName
    virtualNetworkType: empty(subnetId) ? 'None' : 'External'
    virtualNetworkConfiguration: empty(subnetId) ? null : { subnetResourceId: subnetId }
  }
}
