// Availability test of the app's readiness: Flex Consumption has no health check path.
import { Tags } from 'types.bicep'
param insightsName string
param location string
param tags Tags
param url string
param actionGroups string[]

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource ready 'Microsoft.Insights/webtests@2022-06-15' = {
  name: '${insightsName}-ready'
  location: location
  // Application Insights finds its tests by this tag
  tags: union(tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: '${insightsName}-ready'
    Name: 'The proxy is ready'
    Kind: 'standard'
    Enabled: true
    Frequency: 300
    Timeout: 30
    RetryEnabled: true
    Locations: [{ Id: 'emea-nl-ams-azr' }, { Id: 'us-va-ash-azr' }, { Id: 'apac-sg-sin-azr' }]
    Request: { RequestUrl: url, HttpVerb: 'GET', ParseDependentRequests: false }
    ValidationRules: { ExpectedHttpStatusCode: 200, SSLCheck: true, SSLCertRemainingLifetimeCheck: 7 }
  }
}

resource alarm 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${insightsName}-not-ready'
  location: 'global'
  tags: tags
  properties: {
    description: 'The proxy is not ready, as seen from two locations'
    severity: 1
    enabled: true
    scopes: [ready.id, insights.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: ready.id
      componentId: insights.id
      failedLocationCount: 2
    }
    actions: [for group in actionGroups: { actionGroupId: group }]
  }
}
