// The app settings, the same on every host. Those that name resources win over those passed in.
import { Account, Resources, Settings } from 'types.bicep'

@description('An entry of AZURE_OPENAI_BACKENDS. No key: the proxy uses its identity.')
type Backend = {
  name: string
  base_url: string
  priority: int
  deployments: string[]?
  kinds: string[]?
}

func backend(account Account) Backend => {
  name: account.name
  base_url: account.endpoint
  priority: account.priority
  deployments: account.?deployments
  ...(empty(account.?kinds) ? {} : { kinds: account.?kinds })
}

@export()
@description('The settings of the proxy; insights is the connection string, which alone grants nothing.')
func appSettings(given Settings, of Resources, clientId string, insights string) Settings =>
  union(given, {
    AZURE_CLIENT_ID: clientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${clientId}'
    AZURE_OPENAI_BACKENDS: string(map(of.accounts, each => backend(each)))
    AZURE_EVENTHUB_NAMESPACE: of.hubNamespace
    AZURE_EVENTHUB_NAME: of.hubName
    AZURE_BLOB_CONTAINER_URL: of.containerUrl
    PROXY_REDACT: empty(of.redact) ? '' : string(of.redact)
  })
