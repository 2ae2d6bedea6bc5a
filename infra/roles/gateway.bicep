// API Management, new or existing, may send telemetry with its own identity.
param name string
param gatewayName string
param gatewayGroup string

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
  scope: resourceGroup(gatewayGroup)
}

module mayReport 'insights.bicep' = {
  name: 'gateway-may-report-${gatewayName}'
  params: { name: name, principalId: gateway.identity.principalId }
}
