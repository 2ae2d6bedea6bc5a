// The hub that takes the records, with a consumer group for each system that reads them.
param namespaceName string

@description('Whether to make the namespace, or use the one that exists.')
param create bool
param location string
param tags object
param hubName string
param partitions int
param consumerGroups array
param maximumThroughputUnits int

resource made 'Microsoft.EventHub/namespaces@2024-01-01' = if (create) {
  name: namespaceName
  location: location
  tags: tags
  // Basic has one consumer group, no auto-inflate, and events of 256 KB at most
  sku: { name: 'Standard', tier: 'Standard', capacity: 1 }
  properties: {
    isAutoInflateEnabled: true
    maximumThroughputUnits: maximumThroughputUnits
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
  }
}

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: namespace
  name: hubName
  properties: {
    partitionCount: partitions
    // what a consumer may lag behind; 7 days is the most that Standard keeps
    retentionDescription: { cleanupPolicy: 'Delete', retentionTimeInHours: 168 }
  }
  dependsOn: [made]
}

resource groups 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = [for group in consumerGroups: {
  parent: hub
  name: group
  properties: {}
}]
