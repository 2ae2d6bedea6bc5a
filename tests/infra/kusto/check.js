// Checks KQL queries with Microsoft's parser, against Application Insights' tables (classic names) or those given as JSON
// in the first argument: {table: "column: type, …"}.
//
// Reads {name: query} as JSON from stdin and writes {name: {faults: [{code, message, line}], columns: [name]}} to stdout.
// Run it where @kusto/language-service-next is installed. Application Insights' tables are from
// https://learn.microsoft.com/azure/azure-monitor/app/convert-classic-resource#table-schemas.
"use strict";

const fs = require("fs");
const path = require("path");
const vm = require("vm");

const EVERY_TABLE = `
  timestamp: datetime, itemId: string, itemType: string, customDimensions: dynamic,
  operation_Id: string, operation_ParentId: string, operation_Name: string, operation_SyntheticSource: string,
  cloud_RoleName: string, cloud_RoleInstance: string, application_Version: string,
  session_Id: string, user_Id: string, user_AuthenticatedId: string, user_AccountId: string,
  client_Type: string, client_Model: string, client_OS: string, client_IP: string, client_Browser: string,
  client_City: string, client_StateOrProvince: string, client_CountryOrRegion: string,
  appId: string, appName: string, iKey: string, sdkVersion: string`;

const COUNTED = "itemCount: int, customMeasurements: dynamic";

const TABLES = {
  requests: `${COUNTED}, id: string, source: string, name: string, url: string, success: string, resultCode: string,
    duration: real, performanceBucket: string`,
  dependencies: `${COUNTED}, id: string, target: string, type: string, name: string, data: string, success: string,
    resultCode: string, duration: real, performanceBucket: string`,
  traces: `${COUNTED}, message: string, severityLevel: int`,
  exceptions: `${COUNTED}, problemId: string, handledAt: string, type: string, message: string, assembly: string,
    method: string, outerType: string, outerMessage: string, outerAssembly: string, outerMethod: string,
    innermostType: string, innermostMessage: string, innermostAssembly: string, innermostMethod: string,
    severityLevel: int, details: dynamic`,
  customMetrics: `name: string, value: real, valueCount: int, valueSum: real, valueMin: real, valueMax: real,
    valueStdDev: real`,
};

// The parser is C# compiled to scripts that define globals, not modules.
const installed = path.join(process.cwd(), "node_modules", "@kusto", "language-service-next");
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  vm.runInThisContext(fs.readFileSync(path.join(installed, file), "utf8"), { filename: file });
}
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

function listed(collection) {
  return Array.from({ length: collection.Count }, (_, index) => collection.getItem(index));
}

function checked(query, tables) {
  const code = KustoCode.ParseAndAnalyze(query, tables);
  const faults = listed(code.GetDiagnostics()).map(({ Code, Message, Start }) => ({
    code: Code,
    message: Message,
    line: query.slice(0, Start).split("\n").length,
  }));
  const columns = code.ResultType && code.ResultType.Columns;
  return { faults, columns: columns ? listed(columns).map((column) => column.Name) : [] };
}

const insights = () => Object.entries(TABLES).map(([name, columns]) => [name, `${EVERY_TABLE}, ${columns}`]);
const given = process.argv[2] ? Object.entries(JSON.parse(process.argv[2])) : insights();
const symbols = given.map(([name, columns]) => Symbols.TableSymbol.From(`(${columns})`).WithName(name));
const tables = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("insights", symbols));
const queries = JSON.parse(fs.readFileSync(0, "utf8"));
const report = Object.entries(queries).map(([name, query]) => [name, checked(query, tables)]);
process.stdout.write(JSON.stringify(Object.fromEntries(report)));
