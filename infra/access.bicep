// Role assignments: all access goes through these.
targetScope = 'subscription'

@description('The proxy\'s identity.')
param principalId string

@description('User or group that may read the records. Empty: none.')
param recordsReaderId string

@description('Each is { name, resourceGroup }.')
param openAiAccounts array
param hubNamespace string
param hubGroup string
param hubName string
param recordsStorage string
param recordsGroup string
param insightsName string
param insightsGroup string
param gatewayName string
param gatewayGroup string

module mayAskOpenAi 'roles/openai.bicep' = [for account in openAiAccounts: {
  name: 'may-ask-${account.name}'
  scope: resourceGroup(account.resourceGroup)
  params: { name: account.name, principalId: principalId }
}]

module maySendRecords 'roles/hub.bicep' = {
  name: 'may-send-records'
  scope: resourceGroup(hubGroup)
  params: { name: hubNamespace, hubName: hubName, principalId: principalId, readerId: recordsReaderId }
}

module mayStoreRecords 'roles/records.bicep' = {
  name: 'may-store-records'
  scope: resourceGroup(recordsGroup)
  params: { name: recordsStorage, principalId: principalId, readerId: recordsReaderId }
}

module mayReport 'roles/insights.bicep' = {
  name: 'may-report'
  scope: resourceGroup(insightsGroup)
  params: { name: insightsName, principalId: principalId }
}

module gatewayMayReport 'roles/gateway.bicep' = {
  name: 'gateway-may-report'
  scope: resourceGroup(insightsGroup)
  params: { name: insightsName, gatewayName: gatewayName, gatewayGroup: gatewayGroup }
}
