// Four alarms on the proxy's metrics, which count every call, sampled or not. docs/operations.md explains each and says
// what to do.
import { Tags } from 'types.bicep'
param insightsName string
param location string
param tags Tags

@description('Address for notifications. Empty: alarms appear in the portal only.')
param email string

var alarms = [
  {
    name: 'records-lost'
    title: 'Records were lost'
    query: loadTextContent('alarms/records-lost.kql')
    threshold: 0
    severity: 1
    window: 'PT15M'
  }
  {
    name: 'backlog-age'
    title: 'Records have waited for Event Hubs for more than 300 seconds'
    query: loadTextContent('alarms/backlog-age.kql')
    threshold: 300
    severity: 2
    window: 'PT15M'
  }
  {
    name: 'error-share'
    title: 'More than 10 % of the calls fail upstream'
    query: loadTextContent('alarms/error-share.kql')
    threshold: 10
    severity: 2
    window: 'PT15M'
  }
  {
    name: 'first-chunk'
    title: 'Streams take more than 5 seconds to start'
    query: loadTextContent('alarms/first-chunk.kql')
    threshold: 5
    severity: 3
    window: 'PT15M'
  }
]

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-${insightsName}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'OpenAI proxy'
    emailReceivers: [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alarm in alarms: {
    name: '${insightsName}-${alarm.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alarm.title
      severity: alarm.severity
      enabled: true
      scopes: [insights.id]
      evaluationFrequency: 'PT5M'
      windowSize: alarm.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: alarm.query
            metricMeasureColumn: 'value'
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: alarm.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: empty(email) ? [] : [people.id] }
    }
  }
]

output actionGroups string[] = empty(email) ? [] : [people.id]
