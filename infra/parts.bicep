// The parts around the proxy that are made before it: accounts, hub, storage, monitoring, API Management, the network, and
// the identity with its roles.
targetScope = 'subscription'
import { Account, Deployment, Hub, NewAccount, Place, Publisher, Tags } from 'types.bicep'
param token string
param location string
param tags Tags
param group string
param openAiAccounts NewAccount[]
param openAiDeployments Deployment[]
param accounts Account[]
param namespace Place
param hub Hub
param records Place
param recordsReaderId string
param insights Place
param gateway Place
param gatewaySku string
param publisher Publisher
param isContainer bool

@description('Where isPrivate: the subnet of API Management.')
param gatewaySubnetId string
param isPrivate bool
param networkAddresses string

module identityMade 'identity.bicep' = {
  scope: resourceGroup(group)
  params: { name: 'id-${token}', location: location, tags: tags }
}

module network 'network/network.bicep' = if (isPrivate) {
  scope: resourceGroup(group)
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
    addresses: networkAddresses
    classicGateway: gatewaySku == 'Premium'
  }
}

module monitoring 'monitoring.bicep' = if (insights.isNew) {
  scope: resourceGroup(group)
  params: {
    name: insights.name
    workspaceName: 'log-${token}'
    location: location
    tags: tags
    isPrivate: isPrivate
  }
}

module accountsMade 'openai.bicep' = [
  for account in openAiAccounts: {
    scope: resourceGroup(group)
    params: {
      name: 'oai-${token}-${account.location}'
      location: account.location
      tags: tags
      deployments: openAiDeployments
      isPrivate: isPrivate
    }
  }
]

module hubMade 'eventhub.bicep' = {
  scope: resourceGroup(namespace.resourceGroup)
  params: {
    namespaceName: namespace.name
    create: namespace.isNew
    location: location
    tags: tags
    hubName: hub.name
    partitions: hub.partitions
    consumerGroups: hub.consumerGroups
    maximumThroughputUnits: hub.maximumThroughputUnits
    isPrivate: isPrivate
  }
}

module recordsMade 'storage.bicep' = {
  scope: resourceGroup(records.resourceGroup)
  params: {
    name: records.name
    create: records.isNew
    location: location
    tags: tags
    container: 'openai-records'
    isPrivate: isPrivate
  }
}

module hostStorageMade 'storage.bicep' = if (!isContainer) {
  scope: resourceGroup(group)
  params: {
    name: 'sthost${token}'
    create: true
    location: location
    tags: tags
    container: 'app-package'
    isPrivate: isPrivate
  }
}

module gatewayMade 'gateway.bicep' = if (gateway.isNew) {
  scope: resourceGroup(group)
  params: {
    name: gateway.name
    location: location
    tags: tags
    sku: gatewaySku
    publisherEmail: publisher.email
    publisherName: publisher.name
    subnetId: gatewaySubnetId
  }
  dependsOn: [network]
}

module access 'access.bicep' = {
  params: {
    // Known only now, and part of each assignment's name: an assignment cannot be given to another identity.
    #disable-next-line what-if-short-circuiting
    principalId: identityMade.outputs.principalId
    recordsReaderId: recordsReaderId
    accounts: accounts
    hub: namespace
    hubName: hub.name
    records: records
    insights: insights
    gateway: gateway
  }
  dependsOn: [accountsMade, hubMade, recordsMade, monitoring, gatewayMade]
}

module closed 'network/private.bicep' = if (isPrivate) {
  scope: resourceGroup(group)
  params: {
    network: 'vnet-${token}'
    location: location
    tags: tags
    accounts: accounts
    hub: namespace
    storage: isContainer ? [records] : [records, { name: 'sthost${token}', resourceGroup: group, isNew: true }]
    insights: insights
    isContainer: isContainer
  }
  dependsOn: [network, access, hostStorageMade]
}
