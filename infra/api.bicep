// What clients call, on a new or existing API Management service: an API for each family of paths, one policy for all,
// and a product with a first subscription.
import { Place } from 'types.bicep'
param gatewayName string
param insights Place

@description('URL of the proxy.')
param appUrl string

@description('The Function App that the proxy is. Empty: it is a container.')
param functionName string
param functionGroup string

@description('Which of the proxy\'s keys to send: the name of a host key, or primary or secondary of a container\'s two.')
param keyName string
param samplingPercentage int
param tokensPerMinute int
param callerTenant string
param callerAudience string
param llmLog 'none' | 'counts' | 'messages'

var isContainer = empty(functionName)
var askForToken = !empty(callerTenant) && !empty(callerAudience)
var withToken = replace(
  loadTextContent('apim/api.xml'),
  '<!-- option: token -->',
  askForToken ? loadTextContent('apim/token.xml') : ''
)
var policy = replace(
  withToken,
  '<!-- option: token-limit -->',
  tokensPerMinute > 0 ? loadTextContent('apim/token-limit.xml') : ''
)
// A session has no response to forward, and no tokens that API Management could count.
var forward = '<forward-request timeout="{{openai-proxy-timeout}}" buffer-response="false" />'
var socketPolicy = replace(replace(withToken, '<!-- option: token-limit -->', ''), forward, '<base />')

var documents = 'https://raw.githubusercontent.com/Azure/azure-rest-api-specs'
var families = [
  {
    name: 'azure-openai'
    title: 'Azure OpenAI'
    path: 'openai'
    header: 'api-key'
    document: '${documents}/main/specification/cognitiveservices/data-plane/AzureOpenAI/inference/stable/2024-10-21/inference.json'
  }
  {
    name: 'azure-openai-v1'
    title: 'Azure OpenAI v1'
    path: 'openai/v1'
    header: 'api-key'
    // at a commit: under main it moves
    document: '${documents}/0723d852ed5d4c0b95f331ce6f37833be70ea019/specification/ai/data-plane/OpenAI.v1/azure-v1-v1-generated.json'
  }
  { name: 'azure-anthropic', title: 'Claude', path: 'anthropic', header: 'x-api-key', document: '' }
  { name: 'azure-models', title: 'Other models', path: 'models', header: 'api-key', document: '' }
]

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights.name
  scope: resourceGroup(insights.resourceGroup)
}

resource function 'Microsoft.Web/sites@2025-03-01' existing = if (!isContainer) {
  name: functionName
  scope: resourceGroup(functionGroup)
}

resource containerKey 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' existing = if (isContainer) {
  parent: service
  name: 'openai-proxy'
}

resource key 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: service
  name: 'openai-proxy-key'
  properties: {
    displayName: 'openai-proxy-key'
    secret: true
    // read at deployment, so that no file, parameter or output contains it
    value: isContainer
      ? (keyName == 'secondary' ? containerKey!.listSecrets().secondaryKey : containerKey!.listSecrets().primaryKey)
      : listKeys('${function.id}/host/default', '2025-03-01').functionKeys[keyName]
  }
}

var plainValues = [
  { name: 'openai-proxy-key-header', value: isContainer ? 'api-key' : 'x-functions-key' }
  { name: 'openai-proxy-timeout', value: isContainer ? '1800' : '230' }
  { name: 'openai-proxy-tokens-per-minute', value: string(tokensPerMinute) }
  { name: 'openai-proxy-caller-tenant', value: askForToken ? callerTenant : 'none' }
  { name: 'openai-proxy-caller-audience', value: askForToken ? callerAudience : 'none' }
]

resource values 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for each in plainValues: {
    parent: service
    name: each.name
    properties: { displayName: each.name, value: each.value }
  }
]

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'openai-proxy-insights'
  properties: {
    loggerType: 'applicationInsights'
    resourceId: component.id
    credentials: {
      connectionString: component.properties.ConnectionString
      identityClientId: 'systemAssigned'
    }
  }
}

module log 'api/log.bicep' = if (llmLog != 'none') {
  params: { gatewayName: gatewayName, insights: insights }
}

resource product 'Microsoft.ApiManagement/service/products@2024-05-01' = {
  parent: service
  name: 'azure-openai'
  properties: {
    displayName: 'Azure OpenAI'
    description: 'Azure OpenAI and its neighbours, each call traced and recorded.'
    subscriptionRequired: true
    approvalRequired: true
    state: 'published'
  }
}

// one after the other: API Management refuses concurrent imports
@batchSize(1)
module apis 'api/family.bicep' = [
  for family in families: {
    params: {
      gatewayName: gatewayName
      name: family.name
      displayName: family.title
      path: family.path
      serviceUrl: '${appUrl}/${family.path}'
      keyHeader: family.header
      policy: policy
      specification: family.document
      samplingPercentage: samplingPercentage
      llmLog: llmLog
    }
    dependsOn: [key, values, logger, log, product]
  }
]

module sockets 'api/sockets.bicep' = if (isContainer) {
  params: { gatewayName: gatewayName, appUrl: appUrl, policy: socketPolicy }
  dependsOn: [key, values, product]
}

resource subscriptionOfFirst 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' = {
  parent: service
  name: 'azure-openai-first'
  properties: { displayName: 'First caller of Azure OpenAI', scope: product.id, state: 'active' }
}

output endpoint string = service.properties.gatewayUrl
output subscriptionName string = subscriptionOfFirst.name
