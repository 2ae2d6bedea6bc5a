// The proxy as a Function App on Flex Consumption.
import { appSettings } from 'settings.bicep'
import { Place, Resources, Scale, Settings, Tags } from 'types.bicep'
param name string
param planName string

@description('The host\'s own storage account, and the container for the app\'s package in it.')
param storageName string
param packageUrl string
param location string
param tags Tags
param identityName string
param insights Place
param resources Resources
param settings Settings
param scale Scale
param instanceMemoryMb int
param updateStrategy 'Recreate' | 'RollingUpdate'

@description('Subnet, delegated to Microsoft.App/environments, that calls leave through. Empty: none.')
param subnetId string

@description('Whether only private endpoints reach the app.')
param isPrivate bool

// Storage Blob Data Owner: the host keeps its keys and locks there, and loads the app's package
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'

resource user 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights.name
  scope: resourceGroup(insights.resourceGroup)
}

resource storage 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storageName
}

resource hostMayStore 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, user.id, blobDataOwner)
  scope: storage
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
    principalId: user.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'proxy' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${user.id}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: { minTlsVersion: '1.2' }
    // No healthCheckPath: on this plan the platform checks instances itself and accepts no path.
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: user.id }
        }
      }
      // Replaces the setting FUNCTIONS_WORKER_RUNTIME, which the plan rejects and sets for the worker itself.
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMb
        maximumInstanceCount: scale.maximum
        alwaysReady: scale.minimum == 0 ? [] : [{ name: 'http', instanceCount: scale.minimum }]
        // the default for Python is one call per instance
        triggers: { http: { perInstanceConcurrency: scale.calls } }
      }
      // In preview: the service takes it from API version 2024-11-01 on, and no published schema has it.
      #disable-next-line BCP037
      siteUpdateStrategy: { type: updateStrategy }
    }
  }
  dependsOn: [hostMayStore]
}

resource appConfig 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: {
    ...appSettings(settings, resources, user.properties.clientId, component.properties.ConnectionString)
    AzureWebJobsStorage__accountName: storage.name
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: user.properties.clientId
    // the worker leaves spans to the app, and the host does not duplicate its logs
    PYTHON_ENABLE_OPENTELEMETRY: 'true'
  }
}

output endpoint string = 'https://${app.properties.defaultHostName}'
