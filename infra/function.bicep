// The proxy as a Function App on Flex Consumption, with its host's storage account.
param name string
param planName string
param storageName string
param location string
param tags object
param insightsName string
param insightsGroup string

@description('Each is { name, endpoint, priority?, deployments? }. No keys: the proxy uses its identity.')
param accounts array
param hubNamespace string
param hubName string
param containerUrl string
param redact array
param settings object
param callsPerInstance int
param maximumInstances int
param alwaysReadyInstances int
param instanceMemoryMb int
param subnetId string

// Storage Blob Data Owner: the host keeps its keys and locks there, and loads the app's package
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'

var backends = [for account in accounts: {
  name: account.name
  base_url: account.endpoint
  priority: account.?priority ?? 0
  deployments: account.?deployments
}]

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
  scope: resourceGroup(insightsGroup)
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
}

resource package 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'app-package'
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'proxy' })
  kind: 'functionapp,linux'
  identity: { type: 'SystemAssigned' }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: { minTlsVersion: '1.2' }
    // No healthCheckPath: on this plan the platform checks instances itself and accepts no path.
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${package.name}'
          authentication: { type: 'SystemAssignedIdentity' }
        }
      }
      // Replaces the setting FUNCTIONS_WORKER_RUNTIME, which the plan rejects and sets for the worker itself.
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMb
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReadyInstances == 0 ? [] : [{ name: 'http', instanceCount: alwaysReadyInstances }]
        // the default for Python is one call per instance
        triggers: { http: { perInstanceConcurrency: callsPerInstance } }
      }
    }
  }
}

resource hostMayStore 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, app.id, blobDataOwner)
  scope: storage
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(settings, {
    AzureWebJobsStorage__accountName: storage.name
    AzureWebJobsStorage__credential: 'managedidentity'
    // the worker leaves spans to the app, and the host does not duplicate its logs
    PYTHON_ENABLE_OPENTELEMETRY: 'true'
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD'
    AZURE_OPENAI_BACKENDS: string(backends)
    AZURE_EVENTHUB_NAMESPACE: hubNamespace
    AZURE_EVENTHUB_NAME: hubName
    AZURE_BLOB_CONTAINER_URL: containerUrl
    PROXY_REDACT: empty(redact) ? '' : string(redact)
  })
  dependsOn: [hostMayStore]
}

output name string = app.name
output principalId string = app.identity.principalId
output endpoint string = 'https://${app.properties.defaultHostName}'
