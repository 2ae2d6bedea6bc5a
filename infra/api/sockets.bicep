// WebSocket sessions: one API for each path that has them. They lie under /ws/, since a WebSocket API takes its whole
// path, and HTTP calls go to the same ones.
param gatewayName string
param appUrl string
param policy string

var paths = ['openai/realtime', 'openai/v1/realtime', 'openai/v1/responses']

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource apis 'Microsoft.ApiManagement/service/apis@2024-05-01' = [
  for path in paths: {
    parent: service
    name: 'azure-${replace(path, '/', '-')}-ws'
    properties: {
      displayName: 'Sessions at /${path}'
      type: 'websocket'
      path: 'ws/${path}'
      protocols: ['wss']
      serviceUrl: '${replace(appUrl, 'https://', 'wss://')}/${path}'
      subscriptionRequired: true
      subscriptionKeyParameterNames: { header: 'api-key', query: 'subscription-key' }
    }
  }
]

resource rules 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = [
  for (path, index) in paths: {
    parent: apis[index]
    name: 'policy'
    properties: { format: 'xml', value: policy }
  }
]

resource inProduct 'Microsoft.ApiManagement/service/products/apis@2024-05-01' = [
  for (path, index) in paths: {
    name: '${gatewayName}/azure-openai/${apis[index].name}'
  }
]
