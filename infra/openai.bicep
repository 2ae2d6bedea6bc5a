// One Azure OpenAI account with its deployments.
param name string
param location string
param tags object

@description('Each is { name, model, version, sku, capacity }.')
param deployments array

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    // Entra ID does not work on the regional endpoint that all accounts share
    customSubDomainName: name
    // a key would bypass the proxy and the records
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
  }
}

// sequentially: an account accepts one change at a time
@batchSize(1)
resource models 'Microsoft.CognitiveServices/accounts/deployments@2024-10-01' = [for deployment in deployments: {
  parent: account
  name: deployment.name
  sku: { name: deployment.sku, capacity: deployment.capacity }
  properties: {
    model: { format: 'OpenAI', name: deployment.model, version: deployment.version }
    // usage and prices are per model version, which must not change by itself
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}]
