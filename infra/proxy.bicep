// The proxy itself, on Azure Functions or Azure Container Apps.
import { Place, Resources, Scale, Settings, Tags } from 'types.bicep'
param token string
param location string
param tags Tags
param insights Place
param gateway Place
param resources Resources
param settings Settings
param scale Scale
param instanceMemoryMb int
param updateStrategy 'Recreate' | 'RollingUpdate'
param isContainer bool
param image string
param subnetId string
param isPrivate bool

var identityName = 'id-${token}'
var hostStorage = 'sthost${token}'

module function 'function.bicep' = if (!isContainer) {
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    storageName: hostStorage
    packageUrl: 'https://${hostStorage}.blob.${environment().suffixes.storage}/app-package'
    location: location
    tags: tags
    identityName: identityName
    insights: insights
    resources: resources
    settings: settings
    scale: scale
    instanceMemoryMb: instanceMemoryMb
    updateStrategy: updateStrategy
    subnetId: subnetId
    isPrivate: isPrivate
  }
}

module containerKey 'api/key.bicep' = if (isContainer) {
  scope: resourceGroup(gateway.resourceGroup)
  params: { gatewayName: gateway.name }
}

module container 'container/app.bicep' = if (isContainer) {
  params: {
    name: 'ca-${token}'
    environmentName: 'cae-${token}'
    registryName: 'cr${token}'
    location: location
    tags: tags
    identityName: identityName
    insights: insights
    resources: resources
    settings: settings
    scale: scale
    gateway: gateway
    image: image
    subnetId: subnetId
    isPrivate: isPrivate
  }
  dependsOn: [containerKey]
}

module endpoint 'network/endpoint.bicep' = if (isPrivate) {
  params: {
    network: 'vnet-${token}'
    location: location
    tags: tags
    target: isContainer
      ? {
          name: 'cae-${token}'
          id: resourceId('Microsoft.App/managedEnvironments', 'cae-${token}')
          group: 'managedEnvironments'
          zones: ['privatelink.${location}.azurecontainerapps.io']
        }
      : {
          name: 'func-${token}'
          id: resourceId('Microsoft.Web/sites', 'func-${token}')
          group: 'sites'
          zones: ['privatelink.azurewebsites.net']
        }
  }
  dependsOn: [function, container]
}

output name string = isContainer ? 'ca-${token}' : 'func-${token}'
output endpoint string = isContainer ? container!.outputs.endpoint : function!.outputs.endpoint
output registryEndpoint string = isContainer ? container!.outputs.registryEndpoint : ''
