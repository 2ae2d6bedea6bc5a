// The container for records too large for the hub and those that a stopping instance could not send. It holds prompts,
// so it is not in the Functions host's storage account, which other people may read.
param storageName string

@description('Whether to create the account or use an existing one.')
param create bool
param location string
param tags object

resource made 'Microsoft.Storage/storageAccounts@2023-05-01' = if (create) {
  name: storageName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: storage
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'openai-records'
  properties: { publicAccess: 'None' }
  dependsOn: [made]
}

output containerUrl string = 'https://${storageName}.blob.${environment().suffixes.storage}/${container.name}'
