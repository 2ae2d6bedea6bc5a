// A storage account with one container: for records too large for the hub and those that a stopping instance could not
// send, or for the Functions host. The two are apart, since records hold prompts, and the host's account has more readers.
import { Tags } from 'types.bicep'
param name string

@description('Whether to create the account or use an existing one.')
param create bool
param location string
param tags Tags
param container string

@description('Whether only private endpoints reach it. An existing one stays as it is.')
param isPrivate bool

resource made 'Microsoft.Storage/storageAccounts@2025-08-01' = if (create) {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: name
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' existing = {
  parent: account
  name: 'default'
}

resource holder 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = {
  parent: blobs
  name: container
  properties: { publicAccess: 'None' }
  dependsOn: [made]
}
