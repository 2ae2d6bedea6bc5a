// A private link scope: from the network, telemetry reaches this Application Insights and its workspace, and no other.
import { Place, Tags } from '../types.bicep'
param name string
param tags Tags
param insights Place

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights.name
  scope: resourceGroup(insights.resourceGroup)
}

resource link 'Microsoft.Insights/privateLinkScopes@2021-09-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: { accessModeSettings: { ingestionAccessMode: 'PrivateOnly', queryAccessMode: 'PrivateOnly' } }
}

resource componentInScope 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = {
  parent: link
  name: 'insights'
  properties: { linkedResourceId: component.id }
}

resource workspaceInScope 'Microsoft.Insights/privateLinkScopes/scopedResources@2021-09-01' = {
  parent: link
  name: 'workspace'
  properties: { linkedResourceId: component.properties.WorkspaceResourceId }
  dependsOn: [componentInScope]
}
