// Everything the proxy needs, from an empty subscription to a traced, recorded call. Most parts can be new or existing.
// No part holds another's key: managed identities authenticate, and every service that can disable keys does.
targetScope = 'subscription'
import { Account, Deployment, ExistingAccount, NewAccount, Place, Settings } from 'types.bicep'

@minLength(1)
@maxLength(40)
@description('Name of the azd environment. Names the resource group and tags every resource.')
param environmentName string

@minLength(1)
@description('Region of all new resources except the accounts.')
@metadata({ azd: { type: 'location' } })
param location string

// ---- Models

param openAiAccounts NewAccount[] = []
param existingOpenAiAccounts ExistingAccount[] = []
param openAiDeployments Deployment[] = []

// ---- Records

@description('An existing Event Hubs namespace to use instead of a new one. Its hub is created if missing.')
param existingEventHubsNamespace string = ''
param existingEventHubsResourceGroup string = ''
param eventHubName string = 'openai-records'

@description('Cannot be changed later; limits how many consumers of a group can read at the same time.')
param eventHubPartitions int = 4

@description('One for each system that reads the records.')
param consumerGroups string[] = ['analytics', 'chargeback']

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

@description('Switch on API Management\'s own log of model calls as well.')
param llmLog bool = false

@description('Which of the proxy\'s keys API Management sends: a host key of the Function App, or primary or secondary of a container. Another one makes rotation seamless: docs/operations.md.')
param gatewayKeyName string = 'default'

// ---- The proxy

@description('Azure Functions, or Azure Container Apps: docs/deploy.md compares them.')
param deployTo 'functions' | 'containerapps' = 'functions'

@minValue(1)
@maxValue(1000)
@description('Concurrent calls per instance; most of them wait for the model.')
param callsPerInstance int = 100
param maximumInstances int = 40

@description('Instances that always run: no cold start, but a cost when idle.')
@minValue(0)
param alwaysReadyInstances int = 0

@allowed([512, 2048, 4096])
param instanceMemoryMb int = 2048

@description('What happens to a Function App\'s open calls when its code or settings change: docs/operations.md.')
param updateStrategy 'Recreate' | 'RollingUpdate' = 'Recreate'

@description('The container\'s image. azd knows it after the first deployment of the code.')
param containerImage string = ''

@description('Settings of the proxy without a parameter here; docs/operations.md lists them.')
param settings Settings = {}

@description('Regular expressions whose matches are redacted in recorded text.')
param redact string[] = []

// ---- Network

@description('Private endpoints for every part but API Management\'s own address, and no public access to any.')
param privateNetwork bool = false
param networkAddresses string = '10.110.0.0/24'

@description('Without privateNetwork: a subnet of yours, delegated to Microsoft.App/environments, that the proxy\'s calls leave through. Empty: none.')
param subnetId string = ''

// A tier that cannot reach into a network would leave the proxy unreachable. Part of a name, so that nothing is made.
var refusal = privateNetwork && gateway.isNew && !contains(['StandardV2', 'PremiumV2', 'Premium'], apiManagementSku)
  ? fail('PRIVATE_NETWORK=true needs APIM_SKU=StandardV2, PremiumV2 or Premium: ${apiManagementSku} cannot reach into a network.')
  : ''

@description('The resource to create or the existing one to use.')
func place(new string, here string, existing string, there string) Place => {
  name: empty(existing) ? new : existing
  resourceGroup: empty(existing) ? here : there
  isNew: empty(existing)
}

func subnetOf(group string, network string, name string) string =>
  resourceId(subscription().subscriptionId, group, 'Microsoft.Network/virtualNetworks/subnets', network, name)

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var groupName = 'rg-${environmentName}'
var isContainer = deployTo == 'containerapps'
var hub = place('evhns-${token}', groupName, existingEventHubsNamespace, existingEventHubsResourceGroup)
var records = place('strec${token}', groupName, existingRecordsStorage, existingRecordsResourceGroup)
var insights = place('appi-${token}', groupName, existingInsightsName, existingInsightsResourceGroup)
var gateway = place('apim-${token}', groupName, existingApiManagementName, existingApiManagementResourceGroup)

var newAccounts = map(openAiAccounts, each => {
  name: 'oai-${token}-${each.location}'
  resourceGroup: groupName
  // serves every family of paths; the name under openai.azure.com serves the first only
  endpoint: 'https://oai-${token}-${each.location}.services.ai.azure.com'
  priority: each.?priority ?? 0
  deployments: each.?deployments
  others: !empty(filter(openAiDeployments, model => (model.?format ?? 'OpenAI') != 'OpenAI'))
})
var oldAccounts = map(existingOpenAiAccounts, each => {
  name: each.name
  resourceGroup: each.resourceGroup
  endpoint: each.endpoint
  priority: each.?priority ?? 0
  deployments: each.?deployments
  kinds: each.?kinds
  others: contains(each.?kinds ?? [], 'messages') || contains(each.?kinds ?? [], 'models')
})
var accounts Account[] = concat(newAccounts, oldAccounts)

var resources = {
  accounts: accounts
  hubNamespace: '${hub.name}.servicebus.windows.net'
  hubName: eventHubName
  containerUrl: 'https://${records.name}.blob.${environment().suffixes.storage}/openai-records'
  redact: redact
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: '${groupName}${refusal}'
  location: location
  tags: tags
}

module parts 'parts.bicep' = {
  params: {
    token: token
    location: location
    tags: tags
    group: group.name
    openAiAccounts: openAiAccounts
    openAiDeployments: openAiDeployments
    accounts: accounts
    namespace: hub
    hub: {
      name: eventHubName
      partitions: eventHubPartitions
      consumerGroups: consumerGroups
      maximumThroughputUnits: maximumThroughputUnits
    }
    records: records
    recordsReaderId: recordsReaderId
    insights: insights
    gateway: gateway
    gatewaySku: apiManagementSku
    publisher: { name: publisherName, email: publisherEmail }
    gatewaySubnetId: privateNetwork ? subnetOf(groupName, 'vnet-${token}', 'gateway') : ''
    isContainer: isContainer
    isPrivate: privateNetwork
    networkAddresses: networkAddresses
  }
}

module proxy 'proxy.bicep' = {
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    insights: insights
    gateway: gateway
    resources: resources
    settings: settings
    scale: { calls: callsPerInstance, minimum: alwaysReadyInstances, maximum: maximumInstances }
    instanceMemoryMb: instanceMemoryMb
    updateStrategy: updateStrategy
    isContainer: isContainer
    image: containerImage
    subnetId: privateNetwork ? subnetOf(groupName, 'vnet-${token}', 'app') : subnetId
    isPrivate: privateNetwork
  }
  dependsOn: [parts]
}

module api 'api.bicep' = {
  scope: resourceGroup(gateway.resourceGroup)
  params: {
    gatewayName: gateway.name
    insights: insights
    appUrl: proxy.outputs.endpoint
    functionName: isContainer ? '' : 'func-${token}'
    functionGroup: group.name
    keyName: gatewayKeyName
    samplingPercentage: samplingPercentage
    tokensPerMinute: tokensPerMinute
    callerTenant: callerTenant
    callerAudience: callerAudience
    // what the records may not hold, this log may not either
    llmLog: llmLog ? ((settings.?PROXY_CONTENT ?? 'full') == 'full' ? 'messages' : 'counts') : 'none'
  }
}

module alarms 'alarms.bicep' = {
  scope: resourceGroup(insights.resourceGroup)
  params: { insightsName: insights.name, location: location, tags: tags, email: alarmEmail }
  dependsOn: [parts]
}

// from outside, where a private app cannot be seen
module availability 'availability.bicep' = if (availabilityTest && !privateNetwork) {
  scope: resourceGroup(insights.resourceGroup)
  params: {
    insightsName: insights.name
    location: location
    tags: tags
    url: '${proxy.outputs.endpoint}/health/ready'
    actionGroups: alarms.outputs.actionGroups
  }
}

@description('The azure_endpoint for clients.')
output API_ENDPOINT string = api.outputs.endpoint
output API_MANAGEMENT_NAME string = gateway.name
output API_MANAGEMENT_RESOURCE_GROUP string = gateway.resourceGroup
output API_SUBSCRIPTION string = api.outputs.subscriptionName
output AZURE_RESOURCE_GROUP string = group.name
output APP_NAME string = proxy.outputs.name
output APP_ENDPOINT string = proxy.outputs.endpoint
output EVENTHUB_NAMESPACE string = resources.hubNamespace
output EVENTHUB_NAME string = eventHubName
output APPLICATION_INSIGHTS_NAME string = insights.name

@description('Where azd puts the image, and which of its services it deploys.')
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = proxy.outputs.registryEndpoint
output DEPLOY_FUNCTION bool = !isContainer
output DEPLOY_CONTAINER bool = isContainer
