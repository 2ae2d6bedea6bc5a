// The proxy may call an account but not change it.
param name string
param principalId string

@description('Whether the account has models that are not OpenAI\'s.')
param others bool

// Cognitive Services OpenAI User; Cognitive Services User, whose data actions include
// Microsoft.CognitiveServices/accounts/AIServices/providers/action, which Claude needs. It may also list keys, but the
// accounts accept none.
var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'
var cognitiveUser = 'a97b65f3-24c7-4388-baec-2e87135dc908'

resource account 'Microsoft.CognitiveServices/accounts@2026-03-01' existing = {
  name: name
}

resource mayAsk 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, openAiUser)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource mayAskOthers 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (others) {
  name: guid(account.id, principalId, cognitiveUser)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cognitiveUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
