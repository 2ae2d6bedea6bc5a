// One account with its deployments. The kind AIServices serves /openai/, /anthropic/ and /models/; the kind OpenAI, only
// the first.
import { Deployment, Tags } from 'types.bicep'
param name string
param location string
param tags Tags
param deployments Deployment[]

@description('Whether only private endpoints reach it.')
param isPrivate bool

resource account 'Microsoft.CognitiveServices/accounts@2026-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'AIServices'
  sku: { name: 'S0' }
  properties: {
    // Entra ID does not work on the regional endpoint that all accounts share
    customSubDomainName: name
    // a key would bypass the proxy and the records
    disableLocalAuth: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

// sequentially: an account accepts one change at a time
@batchSize(1)
resource models 'Microsoft.CognitiveServices/accounts/deployments@2026-03-01' = [
  for deployment in deployments: {
    parent: account
    name: deployment.name
    sku: { name: deployment.sku, capacity: deployment.capacity }
    properties: {
      model: { format: deployment.?format ?? 'OpenAI', name: deployment.model, version: deployment.version }
      // usage and prices are per model version, which must not change by itself
      versionUpgradeOption: 'OnceCurrentVersionExpired'
    }
  }
]
