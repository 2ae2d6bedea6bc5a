// The proxy's identity. User-assigned, so that it has its roles before the app first starts, and keeps them when the
// app is replaced.
import { Tags } from 'types.bicep'
param name string
param location string
param tags Tags

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

output principalId string = identity.properties.principalId
