// One family of paths as an API: its operations, policy and diagnostics.
param gatewayName string
param name string
param displayName string
param path string
param serviceUrl string
param keyHeader string
param policy string
param samplingPercentage int

@description('URL of an OpenAPI document, which the service reads once, at deployment. Empty: none.')
param specification string

@description('What API Management\'s own log of model calls has of each. none: it is off.')
param llmLog 'none' | 'counts' | 'messages'

// Also pass on paths that the document lacks.
var methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

var noBody = { body: { bytes: 0 } }
var noSecrets = {
  body: { bytes: 0 }
  dataMasking: { queryParams: [{ value: '*', mode: 'Hide' }] }
}
// the largest that the service takes; it cuts messages into parts of 32 KB
var messages = llmLog == 'messages' ? { messages: 'all', maxSizeInBytes: 262144 } : null

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource insightsLogger 'Microsoft.ApiManagement/service/loggers@2024-05-01' existing = {
  parent: service
  name: 'openai-proxy-insights'
}

resource monitorLogger 'Microsoft.ApiManagement/service/loggers@2024-05-01' existing = {
  parent: service
  name: 'azuremonitor'
}

resource api 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: service
  name: name
  properties: {
    displayName: displayName
    path: path
    protocols: ['https']
    serviceUrl: serviceUrl
    format: empty(specification) ? null : 'openapi+json-link'
    value: empty(specification) ? null : specification
    subscriptionRequired: true
    // where the family's clients send their key
    subscriptionKeyParameterNames: { header: keyHeader, query: 'subscription-key' }
  }
}

resource operations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [
  for method in methods: {
    parent: api
    name: 'any-${toLower(method)}'
    properties: { displayName: 'Any other ${method}', method: method, urlTemplate: '/*' }
  }
]

resource rules 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: api
  name: 'policy'
  properties: { format: 'xml', value: policy }
}

resource diagnostics 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = {
  parent: api
  name: 'applicationinsights'
  properties: {
    loggerId: insightsLogger.id
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

// the first API version with the log of model calls
resource modelCalls 'Microsoft.ApiManagement/service/apis/diagnostics@2025-03-01-preview' = if (llmLog != 'none') {
  parent: api
  name: 'azuremonitor'
  properties: {
    loggerId: monitorLogger.id
    sampling: { samplingType: 'fixed', percentage: 100 }
    verbosity: 'information'
    logClientIp: false
    frontend: { request: noSecrets, response: noBody }
    backend: { request: noSecrets, response: noBody }
    largeLanguageModel: { logs: 'enabled', requests: messages, responses: messages }
  }
}

resource inProduct 'Microsoft.ApiManagement/service/products/apis@2024-05-01' = {
  name: '${gatewayName}/azure-openai/${api.name}'
}
