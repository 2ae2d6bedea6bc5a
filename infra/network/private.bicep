// The private endpoints of all parts but the proxy itself, their DNS zones, and the proxy's zone.
import { Account, Place, Tags, Target } from '../types.bicep'
param network string
param location string
param tags Tags
param accounts Account[]
param hub Place
param storage Place[]
param insights Place
param isContainer bool

var here = subscription().subscriptionId
// the public cloud's, like the other zones
#disable-next-line no-hardcoded-env-urls
var blobZone = 'privatelink.blob.core.windows.net'
var targets Target[] = [
  ...map(accounts, account => {
    name: account.name
    id: resourceId(here, account.resourceGroup, 'Microsoft.CognitiveServices/accounts', account.name)
    group: 'account'
    zones: [
      'privatelink.cognitiveservices.azure.com'
      'privatelink.openai.azure.com'
      'privatelink.services.ai.azure.com'
    ]
  })
  ...map(storage, account => {
    name: account.name
    id: resourceId(here, account.resourceGroup, 'Microsoft.Storage/storageAccounts', account.name)
    group: 'blob'
    zones: [blobZone]
  })
  {
    name: hub.name
    id: resourceId(here, hub.resourceGroup, 'Microsoft.EventHub/namespaces', hub.name)
    group: 'namespace'
    zones: ['privatelink.servicebus.windows.net']
  }
  {
    name: '${insights.name}-link'
    id: resourceId('Microsoft.Insights/privateLinkScopes', '${insights.name}-link')
    group: 'azuremonitor'
    zones: [
      'privatelink.monitor.azure.com'
      'privatelink.oms.opinsights.azure.com'
      'privatelink.ods.opinsights.azure.com'
      'privatelink.agentsvc.azure-automation.net'
      blobZone
    ]
  }
]
var appZone = isContainer ? 'privatelink.${location}.azurecontainerapps.io' : 'privatelink.azurewebsites.net'

module zones 'zones.bicep' = {
  params: { network: network, tags: tags, names: union(flatten(map(targets, target => target.zones)), [appZone]) }
}

module link 'monitor.bicep' = {
  params: { name: '${insights.name}-link', tags: tags, insights: insights }
}

module endpoints 'endpoint.bicep' = [
  for target in targets: {
    params: { network: network, location: location, tags: tags, target: target }
    dependsOn: [zones, link]
  }
]
