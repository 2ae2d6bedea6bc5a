// Sends API Management's own logs, of requests and of model calls, to the workspace of Application Insights.
import { Place } from '../types.bicep'
param gatewayName string
param insights Place

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights.name
  scope: resourceGroup(insights.resourceGroup)
}

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'azuremonitor'
  properties: { loggerType: 'azureMonitor', isBuffered: false }
}

// To the workspace and not to the hub: a diagnostic setting reaches a hub by a shared key, which the namespace refuses.
// All versions since 2016 are previews.
#disable-next-line use-recent-api-versions
resource toWorkspace 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: service
  name: 'openai-model-calls'
  properties: {
    workspaceId: component.properties.WorkspaceResourceId
    // tables of their own, not the shared AzureDiagnostics
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      { category: 'GatewayLogs', enabled: true }
      { category: 'GatewayLlmLogs', enabled: true }
    ]
  }
}
