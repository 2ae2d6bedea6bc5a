// The hub for the records, with a consumer group for each system that reads them.
import { Tags } from 'types.bicep'
param namespaceName string

@description('Whether to create the namespace or use an existing one.')
param create bool
param location string
param tags Tags
param hubName string
param partitions int
param consumerGroups string[]
param maximumThroughputUnits int

@description('Whether only private endpoints reach it. An existing one stays as it is.')
param isPrivate bool

resource made 'Microsoft.EventHub/namespaces@2026-01-01' = if (create) {
  name: namespaceName
  location: location
  tags: tags
  // Basic has one consumer group, no auto-inflate, and a limit of 256 KB per event
  sku: { name: 'Standard', tier: 'Standard', capacity: 1 }
  properties: {
    isAutoInflateEnabled: true
    maximumThroughputUnits: maximumThroughputUnits
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource namespace 'Microsoft.EventHub/namespaces@2026-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2026-01-01' = {
  parent: namespace
  name: hubName
  properties: {
    partitionCount: partitions
    // bounds a consumer's lag; 7 days is the maximum of Standard
    retentionDescription: { cleanupPolicy: 'Delete', retentionTimeInHours: 168 }
  }
  dependsOn: [made]
}

resource groups 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2026-01-01' = [
  for group in consumerGroups: {
    parent: hub
    name: group
    properties: {}
  }
]
