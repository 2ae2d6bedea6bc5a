// Everything the proxy needs, from an empty subscription to a traced, recorded call. Most parts can be new or existing.
// No part holds another's key: managed identities authenticate, and every service that can disable keys does.
targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Name of the azd environment. Names the resource group and tags every resource.')
param environmentName string

@minLength(1)
@description('Region of all new resources except the Azure OpenAI accounts.')
@metadata({ azd: { type: 'location' } })
param location string

// ---- Azure OpenAI

@description('Accounts to create, one per region: { location, priority?, deployments? }. A lower priority goes first, equal ones share the load; deployments are the names this account serves, by default all.')
param openAiAccounts array = []

@description('Existing accounts: { name, resourceGroup, endpoint, priority?, deployments? }.')
param existingOpenAiAccounts array = []

@description('Deployments of each new account: { name, model, version, sku, capacity }, capacity in thousands of tokens per minute.')
param openAiDeployments array = []

// ---- Records

@description('An existing Event Hubs namespace to use instead of a new one. Its hub is created if missing.')
param existingEventHubsNamespace string = ''
param existingEventHubsResourceGroup string = ''
param eventHubName string = 'openai-records'

@description('Cannot be changed later; limits how many consumers of a group can read at the same time.')
param eventHubPartitions int = 4

@description('One for each system that reads the records.')
param consumerGroups array = ['analytics', 'chargeback']

@description('Maximum of auto-inflate, in throughput units of 1 MB or 1,000 records per second each. It never scales down by itself.')
param maximumThroughputUnits int = 4

@description('An existing storage account to use instead of a new one, for records too large for the hub and those that a stopping instance could not send.')
param existingRecordsStorage string = ''
param existingRecordsResourceGroup string = ''

@description('Object id of a user or group that may read the records in the hub and the container. Empty: none.')
param recordsReaderId string = ''

// ---- Monitoring

@description('An existing Application Insights resource to use instead of a new one.')
param existingInsightsName string = ''
param existingInsightsResourceGroup string = ''

@description('Email address for alarms. Empty: alarms appear in the portal only.')
param alarmEmail string = ''

@description('Request /health/ready of the app every 5 minutes from three locations, and raise an alarm if it is not ready. It keeps an instance awake, which costs.')
param availabilityTest bool = false

// ---- API Management

@description('An existing API Management service with a system-assigned identity, to use instead of a new one.')
param existingApiManagementName string = ''
param existingApiManagementResourceGroup string = ''

@description('Tier of a new service. Consumption is excluded: it does not support long-lived streams.')
@allowed(['Developer', 'Basic', 'Standard', 'Premium', 'BasicV2', 'StandardV2', 'PremiumV2'])
param apiManagementSku string = 'BasicV2'
param publisherEmail string = 'nobody@example.com'
param publisherName string = 'Azure OpenAI'

@description('Percentage of traces to keep. API Management decides for the whole trace, including the proxy\'s spans.')
@minValue(0)
@maxValue(100)
param samplingPercentage int = 100

@description('Tokens per minute for each subscription. 0: no limit.')
@minValue(0)
param tokensPerMinute int = 0

@description('Require callers to send a token of this Entra ID tenant for this audience, in addition to the subscription key. Empty: no token is required.')
param callerTenant string = ''
param callerAudience string = ''

@description('The Function App host key that API Management sends. One other than default makes rotation seamless: docs/operations.md.')
param functionKeyName string = 'default'

// ---- Function App

@minValue(1)
@maxValue(1000)
@description('Concurrent calls per instance; most of them wait for Azure OpenAI.')
param callsPerInstance int = 100
param maximumInstances int = 40

@description('Instances that always run: no cold start, but a cost when idle.')
@minValue(0)
param alwaysReadyInstances int = 0

@allowed([512, 2048, 4096])
param instanceMemoryMb int = 2048

@description('Subnet, delegated to Microsoft.App/environments, through which the app reaches private endpoints. Empty: none.')
param subnetId string = ''

@description('Settings of the proxy without a parameter here; docs/operations.md lists them.')
param settings object = {}

@description('Regular expressions whose matches are redacted in recorded text.')
param redact array = []

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }

var insightsName = empty(existingInsightsName) ? 'appi-${token}' : existingInsightsName
var insightsGroup = empty(existingInsightsName) ? group.name : existingInsightsResourceGroup
var hubNamespace = empty(existingEventHubsNamespace) ? 'evhns-${token}' : existingEventHubsNamespace
var hubGroup = empty(existingEventHubsNamespace) ? group.name : existingEventHubsResourceGroup
var recordsStorage = empty(existingRecordsStorage) ? 'strec${token}' : existingRecordsStorage
var recordsGroup = empty(existingRecordsStorage) ? group.name : existingRecordsResourceGroup
var gatewayName = empty(existingApiManagementName) ? 'apim-${token}' : existingApiManagementName
var gatewayGroup = empty(existingApiManagementName) ? group.name : existingApiManagementResourceGroup

var newAccounts = [for account in openAiAccounts: {
  name: 'oai-${token}-${account.location}'
  resourceGroup: group.name
  endpoint: 'https://oai-${token}-${account.location}.openai.azure.com'
  priority: account.?priority ?? 0
  deployments: account.?deployments
}]

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module monitoring 'monitoring.bicep' = if (empty(existingInsightsName)) {
  name: 'monitoring'
  scope: group
  params: { name: insightsName, workspaceName: 'log-${token}', location: location, tags: tags }
}

module accounts 'openai.bicep' = [for account in openAiAccounts: {
  name: 'openai-${account.location}'
  scope: group
  params: {
    name: 'oai-${token}-${account.location}'
    location: account.location
    tags: tags
    deployments: openAiDeployments
  }
}]

module hub 'eventhub.bicep' = {
  name: 'eventhub'
  scope: resourceGroup(hubGroup)
  params: {
    namespaceName: hubNamespace
    create: empty(existingEventHubsNamespace)
    location: location
    tags: tags
    hubName: eventHubName
    partitions: eventHubPartitions
    consumerGroups: consumerGroups
    maximumThroughputUnits: maximumThroughputUnits
  }
  dependsOn: [group]
}

module records 'records.bicep' = {
  name: 'records'
  scope: resourceGroup(recordsGroup)
  params: {
    storageName: recordsStorage
    create: empty(existingRecordsStorage)
    location: location
    tags: tags
  }
  dependsOn: [group]
}

module proxy 'function.bicep' = {
  name: 'proxy'
  scope: group
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    storageName: 'sthost${token}'
    location: location
    tags: tags
    insightsName: insightsName
    insightsGroup: insightsGroup
    accounts: concat(newAccounts, existingOpenAiAccounts)
    hubNamespace: '${hubNamespace}.servicebus.windows.net'
    hubName: eventHubName
    containerUrl: records.outputs.containerUrl
    redact: redact
    settings: settings
    callsPerInstance: callsPerInstance
    maximumInstances: maximumInstances
    alwaysReadyInstances: alwaysReadyInstances
    instanceMemoryMb: instanceMemoryMb
    subnetId: subnetId
  }
  dependsOn: [monitoring]
}

module gateway 'gateway.bicep' = if (empty(existingApiManagementName)) {
  name: 'gateway'
  scope: group
  params: {
    name: gatewayName
    location: location
    tags: tags
    sku: apiManagementSku
    publisherEmail: publisherEmail
    publisherName: publisherName
  }
}

module access 'access.bicep' = {
  name: 'access'
  params: {
    principalId: proxy.outputs.principalId
    recordsReaderId: recordsReaderId
    openAiAccounts: concat(newAccounts, existingOpenAiAccounts)
    hubNamespace: hubNamespace
    hubGroup: hubGroup
    hubName: eventHubName
    recordsStorage: recordsStorage
    recordsGroup: recordsGroup
    insightsName: insightsName
    insightsGroup: insightsGroup
    gatewayName: gatewayName
    gatewayGroup: gatewayGroup
  }
  dependsOn: [accounts, hub, records, monitoring, gateway]
}

module api 'api.bicep' = {
  name: 'api'
  scope: resourceGroup(gatewayGroup)
  params: {
    gatewayName: gatewayName
    insightsName: insightsName
    insightsGroup: insightsGroup
    functionName: proxy.outputs.name
    functionGroup: group.name
    functionKeyName: functionKeyName
    samplingPercentage: samplingPercentage
    tokensPerMinute: tokensPerMinute
    callerTenant: callerTenant
    callerAudience: callerAudience
  }
  dependsOn: [gateway, access]
}

module alarms 'alarms.bicep' = {
  name: 'alarms'
  scope: resourceGroup(insightsGroup)
  params: { insightsName: insightsName, location: location, tags: tags, email: alarmEmail }
  dependsOn: [monitoring]
}

module availability 'availability.bicep' = if (availabilityTest) {
  name: 'availability'
  scope: resourceGroup(insightsGroup)
  params: {
    insightsName: insightsName
    location: location
    tags: tags
    url: '${proxy.outputs.endpoint}/health/ready'
    actionGroups: alarms.outputs.actionGroups
  }
}

@description('The azure_endpoint for clients.')
output API_ENDPOINT string = api.outputs.endpoint
output API_MANAGEMENT_NAME string = gatewayName
output API_MANAGEMENT_RESOURCE_GROUP string = gatewayGroup
output API_SUBSCRIPTION string = api.outputs.subscriptionName
output AZURE_RESOURCE_GROUP string = group.name
output FUNCTION_APP_NAME string = proxy.outputs.name
output FUNCTION_APP_ENDPOINT string = proxy.outputs.endpoint
output EVENTHUB_NAMESPACE string = '${hubNamespace}.servicebus.windows.net'
output EVENTHUB_NAME string = eventHubName
output APPLICATION_INSIGHTS_NAME string = insightsName
