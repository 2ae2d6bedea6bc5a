// Application Insights with its own workspace, and the workbook of the proxy's telemetry.
import { Tags } from 'types.bicep'
param name string
param workspaceName string
param location string
param tags Tags

@description('Whether telemetry is sent and read through the private link scope only.')
param isPrivate bool

var publicAccess = isPrivate ? 'Disabled' : 'Enabled'

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
    features: { disableLocalAuth: true }
    publicNetworkAccessForIngestion: publicAccess
    publicNetworkAccessForQuery: publicAccess
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // the connection string alone then grants nothing: a sender needs the role Monitoring Metrics Publisher
    DisableLocalAuth: true
    publicNetworkAccessForIngestion: publicAccess
    publicNetworkAccessForQuery: publicAccess
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(insights.id, 'azure-openai-telemetry-proxy')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Azure OpenAI through the proxy'
    category: 'workbook'
    sourceId: insights.id
    serializedData: loadTextContent('workbook/workbook.json')
  }
}
