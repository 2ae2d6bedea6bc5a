// The key with which API Management calls the proxy where no Functions host makes one: that of a subscription to a
// product without APIs, which opens nothing else.
param gatewayName string

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource product 'Microsoft.ApiManagement/service/products@2024-05-01' = {
  parent: service
  name: 'openai-proxy'
  properties: {
    displayName: 'Azure OpenAI proxy'
    description: 'Holds the key between API Management and the proxy. Give it no API.'
    subscriptionRequired: true
    approvalRequired: true
    state: 'notPublished'
  }
}

resource subscription 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' = {
  parent: service
  name: 'openai-proxy'
  properties: { displayName: 'Azure OpenAI proxy', scope: product.id, state: 'active' }
}
