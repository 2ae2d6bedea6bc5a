// The proxy on Azure Container Apps: the same app and settings as on Functions, from an image in a registry of its own.
import { appSettings } from '../settings.bicep'
import { Place, Resources, Scale, Settings, Tags } from '../types.bicep'
param name string
param environmentName string
param registryName string
param location string
param tags Tags
param identityName string
param insights Place
param resources Resources
param settings Settings
param scale Scale
param gateway Place

@description('Empty until the first deployment of the code: a stand-in then listens on the port.')
param image string

@description('Subnet, delegated to Microsoft.App/environments, that the environment lies in. Empty: none.')
param subnetId string

@description('Whether only a private endpoint reaches the environment.')
param isPrivate bool

// AcrPull
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'
var port = 8080
var spool = '/var/spool/records'
// The ingress ends a request that is silent for 240 s, unless it runs on nodes of its own: two at least.
var ingressProfile = 'ingress'
// longer than the app itself takes to stop
var gracePeriod = int(empty(settings.?PROXY_SHUTDOWN_SECONDS ?? '') ? '10' : settings.PROXY_SHUTDOWN_SECONDS) + 10

resource user 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insights.name
  scope: resourceGroup(insights.resourceGroup)
}

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gateway.name
  scope: resourceGroup(gateway.resourceGroup)
}

// made by API Management, and read here, so that no file, parameter or output contains it
resource key 'Microsoft.ApiManagement/service/subscriptions@2024-05-01' existing = {
  parent: service
  name: 'openai-proxy'
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: registryName
  location: location
  tags: tags
  sku: { name: 'Basic' }
  properties: { adminUserEnabled: false, anonymousPullEnabled: false }
}

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, user.id, acrPull)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
    principalId: user.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: environmentName
  location: location
  tags: tags
  properties: {
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    vnetConfiguration: empty(subnetId) ? null : { infrastructureSubnetId: subnetId }
    workloadProfiles: [
      { name: 'Consumption', workloadProfileType: 'Consumption' }
      { name: ingressProfile, workloadProfileType: 'D4', minimumCount: 2, maximumCount: 4 }
    ]
    ingressConfiguration: {
      workloadProfileName: ingressProfile
      requestIdleTimeout: 30
      // how long it keeps open calls when it is itself updated
      terminationGracePeriodSeconds: 600
    }
    // by a diagnostic setting, not by the workspace's key
    appLogsConfiguration: { destination: 'azure-monitor' }
  }
}

// All versions since 2016 are previews.
#disable-next-line use-recent-api-versions
resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'logs'
  properties: {
    workspaceId: component.properties.WorkspaceResourceId
    logs: [
      { category: 'ContainerAppConsoleLogs', enabled: true }
      { category: 'ContainerAppSystemLogs', enabled: true }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2026-01-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'container' })
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${user.id}': {} } }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registry.properties.loginServer, identity: user.id }]
      // both, so that API Management can change from one to the other
      secrets: [{ name: 'client-keys', value: '${key.listSecrets().primaryKey},${key.listSecrets().secondaryKey}' }]
      ingress: { external: true, targetPort: port, transport: 'auto', allowInsecure: false }
    }
    template: {
      terminationGracePeriodSeconds: gracePeriod
      containers: [
        {
          name: 'proxy'
          image: empty(image) ? 'mcr.microsoft.com/dotnet/samples:aspnetapp' : image
          resources: { cpu: json('1.0'), memory: '2Gi' }
          env: [
            ...map(
              items(appSettings(
                union(settings, { PROXY_SPOOL_DIR: spool }),
                resources,
                user.properties.clientId,
                component.properties.ConnectionString
              )),
              each => { name: each.key, value: each.value }
            )
            { name: 'PROXY_CLIENT_KEYS', secretRef: 'client-keys' }
          ]
          // the stand-in has no such paths
          probes: empty(image)
            ? []
            : [
                {
                  type: 'Startup'
                  httpGet: { path: '/health/live', port: port }
                  periodSeconds: 2
                  failureThreshold: 30
                }
                {
                  type: 'Liveness'
                  httpGet: { path: '/health/live', port: port }
                  periodSeconds: 10
                  timeoutSeconds: 5
                  failureThreshold: 6
                }
                {
                  type: 'Readiness'
                  httpGet: { path: '/health/ready', port: port }
                  periodSeconds: 5
                  timeoutSeconds: 3
                }
              ]
          volumeMounts: [{ volumeName: 'spool', mountPath: spool }]
        }
      ]
      // It outlives the container, not the replica, which hands what is left to the records' storage account when it
      // stops. A file share would need the account's key.
      volumes: [{ name: 'spool', storageType: 'EmptyDir' }]
      scale: {
        minReplicas: scale.minimum
        maxReplicas: scale.maximum
        rules: [{ name: 'open-requests', http: { metadata: { concurrentRequests: string(scale.calls) } } }]
      }
    }
  }
  dependsOn: [mayPull]
}

output endpoint string = 'https://${app.properties.configuration.ingress.fqdn}'
output registryEndpoint string = registry.properties.loginServer
