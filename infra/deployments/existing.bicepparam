using '../main.bicep'

param environmentName = 'traced'
param location = 'westeurope'
param openAiAccounts = []
param existingOpenAiAccounts = [
  {
    name: 'oai-theirs'
    resourceGroup: 'rg-theirs'
    endpoint: 'https://oai-theirs.openai.azure.com'
    priority: 1
  }
]
param openAiDeployments = [
  {
    name: 'chat'
    model: 'gpt-4.1-mini'
    version: '2025-04-14'
    sku: 'GlobalStandard'
    capacity: 50
  }
]
param existingEventHubsNamespace = 'evhns-theirs'
param existingEventHubsResourceGroup = 'rg-theirs'
param existingRecordsStorage = 'sttheirs'
param existingRecordsResourceGroup = 'rg-theirs'
param recordsReaderId = '11111111-1111-1111-1111-111111111111'
param existingInsightsName = 'appi-theirs'
param existingInsightsResourceGroup = 'rg-theirs'
param alarmEmail = 'operators@example.com'
param availabilityTest = true
param existingApiManagementName = 'apim-theirs'
param existingApiManagementResourceGroup = 'rg-theirs'
param apiManagementSku = 'BasicV2'
param publisherEmail = 'nobody@example.com'
param samplingPercentage = 100
param tokensPerMinute = 1000
param callerTenant = '22222222-2222-2222-2222-222222222222'
param callerAudience = 'api://models'
param llmLog = false
param gatewayKeyName = 'default'
param deployTo = 'functions'
param containerImage = ''
param updateStrategy = 'Recreate'
param callsPerInstance = 100
param maximumInstances = 40
param alwaysReadyInstances = 0
param privateNetwork = false
param networkAddresses = '10.110.0.0/24'
param subnetId = ''
param redact = []
param settings = {
  AZURE_OPENAI_API_VERSION: ''
  AZURE_EVENTHUB_TRANSPORT: 'amqp'
  OTEL_EXPORTER_OTLP_ENDPOINT: ''
  PROXY_CALLER_HEADERS: 'subscription_id=x-apim-subscription-id,product=x-apim-product,user_id=x-apim-user-id,app_id=x-apim-app-id,session_id=x-session-id,gateway_request_id=x-apim-request-id'
  PROXY_TRACE_CALLER: 'false'
  PROXY_CALLER_BODY: ''
  PROXY_MAX_CONTENT_BYTES: '8388608'
  PROXY_CONTENT: 'full'
  PROXY_TRACE_RATIO: ''
  PROXY_TRACE_CONTENT: 'none'
  PROXY_STREAM_USAGE: 'inject'
  PROXY_ON_CLIENT_ABORT: 'cancel'
  PROXY_STICKY: ''
  PROXY_SPOOL_DIR: ''
  PROXY_SPOOL_MAX_BYTES: '419430400'
  PROXY_READY_MAX_BACKLOG_SECONDS: ''
  PROXY_MAX_REQUEST_BYTES: ''
  PROXY_MAX_SECONDS: '600'
  PROXY_SHUTDOWN_SECONDS: '10'
}
