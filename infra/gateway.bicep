// A new API Management service. Creating Basic, Standard or Premium takes over half an hour; the v2 tiers take minutes.
param name string
param location string
param tags object
param sku string
param publisherEmail string
param publisherName string

resource service 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: sku, capacity: 1 }
  identity: { type: 'SystemAssigned' }
  properties: {
    publisherEmail: publisherEmail
    publisherName: publisherName
  }
}
