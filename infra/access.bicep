// Role assignments: all access goes through these, beside the host's own to its storage or registry.
targetScope = 'subscription'
import { Account, Place } from 'types.bicep'

@description('The proxy\'s identity.')
param principalId string

@description('User or group that may read the records. Empty: none.')
param recordsReaderId string
param accounts Account[]
param hub Place
param hubName string
param records Place
param insights Place
param gateway Place

module mayAsk 'roles/openai.bicep' = [
  for account in accounts: {
    scope: resourceGroup(account.resourceGroup)
    params: { name: account.name, principalId: principalId, others: account.others }
  }
]

module maySendRecords 'roles/hub.bicep' = {
  scope: resourceGroup(hub.resourceGroup)
  params: { name: hub.name, hubName: hubName, principalId: principalId, readerId: recordsReaderId }
}

module mayStoreRecords 'roles/records.bicep' = {
  scope: resourceGroup(records.resourceGroup)
  params: { name: records.name, principalId: principalId, readerId: recordsReaderId }
}

module mayReport 'roles/insights.bicep' = {
  scope: resourceGroup(insights.resourceGroup)
  params: { name: insights.name, principalId: principalId }
}

module gatewayMayReport 'roles/gateway.bicep' = {
  scope: resourceGroup(insights.resourceGroup)
  params: { name: insights.name, gateway: gateway }
}
