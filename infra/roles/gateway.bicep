// API Management, new or existing, may send telemetry with its own identity.
import { Place } from '../types.bicep'
param name string
param gateway Place

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gateway.name
  scope: resourceGroup(gateway.resourceGroup)
}

module mayReport 'insights.bicep' = {
  params: {
    name: name
    // Known only now, and part of the assignment's name: an assignment cannot be given to another identity.
    #disable-next-line what-if-short-circuiting
    principalId: service.identity.principalId
  }
}
