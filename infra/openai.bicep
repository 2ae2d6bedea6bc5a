// One Azure OpenAI account with its deployments.
param name string
param location string
param tags object

@description('{ name, model, version, sku, capacity } each.')
param deployments array

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    // Entra ID is refused on the regional endpoint that all accounts share
    customSubDomainName: name
    // a key would pass by the proxy, and by the records
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
  }
}

// one after the other: an account takes one change at a time
@batchSize(1)
resource models 'Microsoft.CognitiveServices/accounts/deployments@2024-10-01' = [for deployment in deployments: {
  parent: account
  name: deployment.name
  sku: { name: deployment.sku, capacity: deployment.capacity }
  properties: {
    model: { format: 'OpenAI', name: deployment.model, version: deployment.version }
    // usage and prices are recorded by model: it shall not change by itself
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}]
