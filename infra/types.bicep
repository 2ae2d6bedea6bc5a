// The objects that modules pass to each other. They are sealed, so that the compiler finds a member that does not exist.

@export()
type Tags = { *: string }

@export()
@description('App settings by name. Empty means unset.')
type Settings = { *: string }

@export()
@sealed()
@description('An account to create, one per region. A lower priority goes first, equal ones share the load; deployments are the names this account serves, by default all.')
type NewAccount = {
  location: string
  priority: int?
  deployments: string[]?
}

@export()
@sealed()
@description('An existing account. kinds are the families of paths it serves, by default all.')
type ExistingAccount = {
  name: string
  resourceGroup: string
  endpoint: string
  priority: int?
  deployments: string[]?
  kinds: ('openai' | 'messages' | 'models')[]?
}

@export()
@sealed()
@description('A deployment of each new account. format is the model\'s publisher, by default OpenAI; capacity is in thousands of tokens per minute.')
type Deployment = {
  name: string
  format: string?
  model: string
  version: string
  sku: string
  capacity: int
}

@export()
@sealed()
@description('An account as the proxy sees it. others: it has models that are not OpenAI\'s.')
type Account = {
  name: string
  resourceGroup: string
  endpoint: string
  priority: int
  deployments: string[]?
  kinds: string[]?
  others: bool
}

@export()
@sealed()
@description('A resource to create, or an existing one, perhaps in another resource group.')
type Place = {
  name: string
  resourceGroup: string
  isNew: bool
}

@export()
@sealed()
@description('The hub for the records. Partitions cannot be changed later; throughput units never scale down by themselves.')
type Hub = {
  name: string
  partitions: int
  consumerGroups: string[]
  maximumThroughputUnits: int
}

@export()
@sealed()
@description('Whom a new API Management service belongs to.')
type Publisher = {
  name: string
  email: string
}

@export()
@sealed()
@description('How the host scales. Calls are concurrent ones per instance; most of them wait for the model.')
type Scale = {
  calls: int
  minimum: int
  maximum: int
}

@export()
@sealed()
@description('What the app settings say about the deployment\'s resources.')
type Resources = {
  accounts: Account[]
  hubNamespace: string
  hubName: string
  containerUrl: string
  redact: string[]
}

@export()
@sealed()
@description('A resource that gets a private endpoint: its id, its sub-resource, and the DNS zones of its names.')
type Target = {
  name: string
  id: string
  group: string
  zones: string[]
}
