// From an empty subscription to a traced, recorded call: everything the proxy needs, each part new or one that exists.
// No part holds another's key: each is let in by its managed identity, and what can refuse keys refuses them.
targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Name of the azd environment: it names the resource group, and every resource has it as a tag.')
param environmentName string

@minLength(1)
@description('Region of everything new but the Azure OpenAI accounts.')
@metadata({ azd: { type: 'location' } })
param location string

// ---- Azure OpenAI

@description('Accounts to make, one a region: { location, priority?, deployments? }. Lower priority goes first, equals share; deployments are names this account serves, all of them by default.')
param openAiAccounts array = []

@description('Accounts that exist: { name, resourceGroup, endpoint, priority?, deployments? }.')
param existingOpenAiAccounts array = []

@description('What is deployed in each new account: { name, model, version, sku, capacity }, capacity in thousands of tokens a minute.')
param openAiDeployments array = []

// ---- Records

@description('An Event Hubs namespace that exists, in place of a new one. The hub in it is made if it is missing.')
param existingEventHubsNamespace string = ''
param existingEventHubsResourceGroup string = ''
param eventHubName string = 'openai-records'

@description('Cannot be changed later, and bounds how many consumers of one group can read at once.')
param eventHubPartitions int = 4

@description('One for each system that reads the records.')
param consumerGroups array = ['analytics', 'chargeback']

@description('Auto-inflate goes up to this many throughput units: 1 MB or 1,000 records a second each. It never goes down by itself.')
param maximumThroughputUnits int = 4

@description('A storage account that exists, in place of a new one, for records too large for the hub and for what a stopping instance could not send.')
param existingRecordsStorage string = ''
param existingRecordsResourceGroup string = ''

@description('Object id of a user or group that may read the records, in the hub and in the container. Empty: nobody is added.')
param recordsReaderId string = ''

// ---- Monitoring

@description('An Application Insights resource that exists, in place of a new one.')
param existingInsightsName string = ''
param existingInsightsResourceGroup string = ''

@description('Where alarms are sent, by email. Empty: alarms are seen in the portal only.')
param alarmEmail string = ''

@description('Ask /health/ready of the app every 5 minutes from three places, and raise an alarm if it is not well. It keeps an instance awake, which costs.')
param availabilityTest bool = false

// ---- API Management

@description('An API Management service that exists and has a system-assigned identity, in place of a new one.')
param existingApiManagementName string = ''
param existingApiManagementResourceGroup string = ''

@description('Of a new service. Consumption is not among them: it does not support long-lived streams.')
@allowed(['Developer', 'Basic', 'Standard', 'Premium', 'BasicV2', 'StandardV2', 'PremiumV2'])
param apiManagementSku string = 'BasicV2'
param publisherEmail string = 'nobody@example.com'
param publisherName string = 'Azure OpenAI'

@description('Share of the traces to keep, in per cent. API Management decides for the whole trace, the proxy\'s spans included.')
@minValue(0)
@maxValue(100)
param samplingPercentage int = 100

@description('Tokens that one subscription may use in a minute. 0: no limit.')
@minValue(0)
param tokensPerMinute int = 0

@description('Beside the subscription key, ask callers for a token of this Entra ID tenant, for this audience. Empty: no token is asked for.')
param callerTenant string = ''
param callerAudience string = ''

@description('The host key of the Function App that API Management presents. Another than default makes rotation seamless: docs/operations.md.')
param functionKeyName string = 'default'

// ---- Function App

@minValue(1)
@maxValue(1000)
@description('Calls one instance serves at once; most of them wait for Azure OpenAI.')
param callsPerInstance int = 100
param maximumInstances int = 40

@description('Instances that never go away: no cold start, but a cost when idle.')
@minValue(0)
param alwaysReadyInstances int = 0

@allowed([512, 2048, 4096])
param instanceMemoryMb int = 2048

@description('Subnet delegated to Microsoft.App/environments through which the app reaches private endpoints. Empty: none.')
param subnetId string = ''

@description('Settings of the proxy that have no parameter of their own here: docs/operations.md has the list.')
param settings object = {}

@description('Regular expressions that are replaced in recorded text.')
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

@description('What a client is given as azure_endpoint.')
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
