// The API that clients call, on a new or existing API Management service: operations, policy, diagnostics, and a
// product with a first subscription.
param gatewayName string
param insightsName string
param insightsGroup string
param functionName string
param functionGroup string
param functionKeyName string
param samplingPercentage int
param tokensPerMinute int
param callerTenant string
param callerAudience string

@description('Azure\'s OpenAPI document of the inference API. The service reads it once, at deployment.')
param specification string = 'https://raw.githubusercontent.com/Azure/azure-rest-api-specs/main/specification/cognitiveservices/data-plane/AzureOpenAI/inference/stable/2024-10-21/inference.json'

var askForToken = !empty(callerTenant) && !empty(callerAudience)
var withToken = replace(loadTextContent('apim/api.xml'), '<!-- option: token -->', askForToken ? loadTextContent('apim/token.xml') : '')
var policyText = replace(withToken, '<!-- option: token-limit -->', tokensPerMinute > 0 ? loadTextContent('apim/token-limit.xml') : '')

// Also pass on paths that the document lacks, such as /openai/v1/responses.
var methods = ['GET', 'POST', 'DELETE']

var noBody = { body: { bytes: 0 } }
var noSecrets = {
  body: { bytes: 0 }
  dataMasking: { queryParams: [{ value: '*', mode: 'Hide' }] }
}

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
  scope: resourceGroup(insightsGroup)
}

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: functionName
  scope: resourceGroup(functionGroup)
}

resource functionKey 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: service
  name: 'openai-proxy-function-key'
  properties: {
    displayName: 'openai-proxy-function-key'
    secret: true
    // read from the host at deployment, so that no file, parameter or output contains it
    value: listKeys('${app.id}/host/default', '2024-04-01').functionKeys[functionKeyName]
  }
}

var plainValues = [
  { name: 'openai-proxy-tokens-per-minute', value: string(tokensPerMinute) }
  { name: 'openai-proxy-caller-tenant', value: askForToken ? callerTenant : 'none' }
  { name: 'openai-proxy-caller-audience', value: askForToken ? callerAudience : 'none' }
]

resource values 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [for each in plainValues: {
  parent: service
  name: each.name
  properties: { displayName: each.name, value: each.value }
}]

resource api 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: service
  name: 'azure-openai'
  properties: {
    displayName: 'Azure OpenAI'
    path: 'openai'
    protocols: ['https']
    serviceUrl: 'https://${app.properties.defaultHostName}/openai'
    format: 'openapi+json-link'
    value: specification
    subscriptionRequired: true
    // where Azure OpenAI's clients send their key
    subscriptionKeyParameterNames: { header: 'api-key', query: 'subscription-key' }
  }
}

resource operations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [for method in methods: {
  parent: api
  name: 'any-${toLower(method)}'
  properties: { displayName: 'Any other ${method}', method: method, urlTemplate: '/*' }
}]

resource policy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: api
  name: 'policy'
  properties: { format: 'xml', value: policyText }
  dependsOn: [functionKey, values]
}

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'openai-proxy-insights'
  properties: {
    loggerType: 'applicationInsights'
    resourceId: insights.id
    credentials: {
      connectionString: insights.properties.ConnectionString
      identityClientId: 'systemAssigned'
    }
  }
}

resource diagnostics 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = {
  parent: api
  name: 'applicationinsights'
  properties: {
    loggerId: logger.id
    // traceparent, like the other components; the gateway continues a client's trace or starts one
    httpCorrelationProtocol: 'W3C'
    // decides for the whole trace: the proxy honours the sampled flag
    sampling: { samplingType: 'fixed', percentage: samplingPercentage }
    verbosity: 'information'
    logClientIp: false
    // logging a body buffers it, which breaks streaming, and would expose prompts
    frontend: { request: noSecrets, response: noBody }
    backend: { request: noSecrets, response: noBody }
  }
}

resource product 'Microsoft.ApiManagement/service/products@2024-05-01' = {
  parent: service
  name: 'azure-openai'
  properties: {
    displayName: 'Azure OpenAI'
    description: 'Azure OpenAI, each call traced and recorded.'
    subscriptionRequired: true
    approvalRequired: true
    state: 'published'
  }
}

resource inProduct 'Microsoft.ApiManagement/service/products/apis@2024-05-01' = {
  parent: product
  name: api.name
}

resource subscriptionOfFirst 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' = {
  parent: service
  name: 'azure-openai-first'
  properties: { displayName: 'First caller of Azure OpenAI', scope: product.id, state: 'active' }
}

output endpoint string = service.properties.gatewayUrl
output subscriptionName string = subscriptionOfFirst.name
