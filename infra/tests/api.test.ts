import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../lib/config";
import { FULL, readable, resource, resources, synthesize, synthesized } from "./support";

const { app } = synthesized();

/** `METHOD /path` of the API whose resources' logical ids begin so, by how it is authorized. */
function routes(api: string): Record<string, string[]> {
  const paths = resources(app, "AWS::ApiGateway::Resource");
  const pathOf = (id: string): string => {
    const found = paths[id];
    if (found === undefined) return "";
    const parent = found.Properties["ParentId"] as { Ref?: string };
    return `${pathOf(parent.Ref ?? "")}/${String(found.Properties["PathPart"])}`;
  };
  const by: Record<string, string[]> = {};
  for (const [id, method] of Object.entries(resources(app, "AWS::ApiGateway::Method"))) {
    if (!id.startsWith(api)) continue;
    const { HttpMethod: verb, ResourceId: at, AuthorizationType: kind } = method.Properties;
    const route = `${String(verb)} ${pathOf((at as { Ref: string }).Ref)}`;
    (by[String(kind)] ??= []).push(route);
    assert.equal((method.Properties["Integration"] as { Type: string }).Type, "AWS_PROXY");
  }
  for (const list of Object.values(by)) list.sort();
  return by;
}

test("at hooks only the documentation is open", () => {
  assert.deepEqual(routes("HooksRest"), {
    CUSTOM: ["ANY /v1/{path+}", "POST /v1/admin/dlq/purge", "POST /v1/admin/dlq/requeue"],
    NONE: [
      "GET /v1/docs",
      "GET /v1/docs/assets/{file}",
      "GET /v1/openapi.json",
      "GET /v1/redoc",
    ],
  });
});

test("at receiver the switch wants a key, and nothing else does", () => {
  assert.deepEqual(routes("ReceiverApiRest"), {
    CUSTOM: ["POST /disable", "POST /enable"],
    NONE: [
      "GET /docs",
      "GET /docs/assets/{file}",
      "GET /health",
      "GET /openapi.json",
      "GET /redoc",
      "GET /status",
      "POST /{tenant_id}/webhook",
    ],
  });
});

test("a key is asked for by its token, and believed for five minutes", () => {
  const authorizers = Object.values(resources(app, "AWS::ApiGateway::Authorizer"));
  assert.equal(authorizers.length, 2);
  for (const { Properties: one } of authorizers) {
    assert.equal(one["Type"], "TOKEN");
    assert.equal(one["AuthorizerResultTtlInSeconds"], 300);
    assert.equal(one["IdentitySource"], "method.request.header.Authorization");
    const form = new RegExp(String(one["IdentityValidationExpression"]));
    for (const good of ["Bearer phk_abc", "bearer x", `BEARER ${"x".repeat(512)}`]) {
      assert.match(good, form);
    }
    const bad = ["", "Bearer", "Bearer ", "Basic x", "Bearer a b", "Bearer é", "x Bearer y"];
    for (const text of [...bad, `Bearer ${"x".repeat(513)}`]) assert.doesNotMatch(text, form);
  }
});

test("both are regional, named below the zone, at the root of their names", () => {
  const domains = Object.values(resources(app, "AWS::ApiGateway::DomainName"));
  const names = domains.map((one) => one.Properties["DomainName"]).sort();
  assert.deepEqual(names, ["hooks.example.com", "receiver.example.com"]);
  for (const { Properties: one } of domains) {
    assert.deepEqual(one["EndpointConfiguration"], { Types: ["REGIONAL"] });
    assert.equal(one["SecurityPolicy"], "TLS_1_2");
    assert.notEqual(one["RegionalCertificateArn"], undefined);
  }
  for (const { Properties: one } of Object.values(resources(app, "AWS::ApiGateway::BasePathMapping"))) {
    assert.equal(one["BasePath"], undefined);
  }
  const records = Object.values(resources(app, "AWS::Route53::RecordSet"));
  assert.deepEqual(
    records.map((one) => one.Properties["Name"]).sort(),
    ["hooks.example.com.", "receiver.example.com."],
  );
  for (const { Properties: one } of Object.values(resources(app, "AWS::ApiGateway::RestApi"))) {
    assert.deepEqual(one["EndpointConfiguration"], { Types: ["REGIONAL"] });
    assert.equal(one["DisableExecuteApiEndpoint"], true);
    // As text, what is not UTF-8 would be replaced.
    assert.deepEqual(one["BinaryMediaTypes"], ["*/*"]);
  }
});

test("without a zone the default addresses stay open, and nothing is named", () => {
  const { app: bare } = synthesize(parseConfig({ PREFIX: "acme" }));
  for (const type of ["ApiGateway::DomainName", "Route53::RecordSet", "CertificateManager::Certificate"]) {
    assert.deepEqual(resources(bare, `AWS::${type}`), {}, type);
  }
  for (const { Properties: one } of Object.values(resources(bare, "AWS::ApiGateway::RestApi"))) {
    assert.equal(one["DisableExecuteApiEndpoint"], false);
  }
  const url = readable(bare.findOutputs("HooksUrl")["HooksUrl"]?.["Value"]);
  assert.match(url, /^https:\/\/<HooksRest.*>\.execute-api\..*\/<HooksRest.*Stage.*>$/);
});

test("requests are limited, counted and logged without what they hold", () => {
  const stages = Object.values(resources(app, "AWS::ApiGateway::Stage"));
  assert.equal(stages.length, 2);
  for (const { Properties: stage } of stages) {
    const [settings] = stage["MethodSettings"] as Record<string, unknown>[];
    assert(Number(settings?.["ThrottlingRateLimit"]) > 0);
    assert(Number(settings?.["ThrottlingBurstLimit"]) > 0);
    assert.equal(settings?.["MetricsEnabled"], true);
    // A trace would write keys and payloads into the log.
    assert.equal(settings?.["DataTraceEnabled"], false);
    const { Format: format } = stage["AccessLogSetting"] as { Format: string };
    const fields = [...format.matchAll(/\$context\.([A-Za-z.]+)/g)].map(([, name]) => name);
    assert.deepEqual(fields.sort(), [
      "authorizer.tenantId",
      "error.responseType",
      "httpMethod",
      "identity.sourceIp",
      "path",
      "requestId",
      "requestTimeEpoch",
      "responseLatency",
      "responseLength",
      "status",
    ]);
  }
});

test("what API Gateway refuses by itself looks like our own refusals", () => {
  const answers = Object.entries(resources(app, "AWS::ApiGateway::GatewayResponse"));
  const hooks = answers.filter(([id]) => id.startsWith("Hooks")).map(([, one]) => one.Properties);
  const status = Object.fromEntries(hooks.map((one) => [one["ResponseType"], one["StatusCode"]]));
  assert.deepEqual(status, {
    UNAUTHORIZED: "401",
    ACCESS_DENIED: "403",
    MISSING_AUTHENTICATION_TOKEN: "404",
    REQUEST_TOO_LARGE: "413",
    THROTTLED: "429",
    AUTHORIZER_FAILURE: "500",
    AUTHORIZER_CONFIGURATION_ERROR: "500",
    INTEGRATION_FAILURE: "503",
    INTEGRATION_TIMEOUT: "503",
    DEFAULT_4XX: undefined,
    DEFAULT_5XX: undefined,
  });
  for (const one of hooks) {
    const body = (one["ResponseTemplates"] as Record<string, string>)["application/json"] ?? "";
    // What API Gateway puts in has no quotes, and is never null.
    const filled = JSON.parse(body.replace("$context.error.responseType", "X")) as { detail: string };
    assert.deepEqual(Object.keys(filled), ["detail"]);
    assert.doesNotMatch(filled.detail, /\$/);
    const isUnsure = String(one["ResponseType"]).startsWith("AUTHORIZER_");
    assert.equal(filled.detail === "cannot check the API key now", isUnsure);
    const headers = (one["ResponseParameters"] ?? {}) as Record<string, string>;
    const waits = ["429", "503"].includes(String(one["StatusCode"]));
    assert.equal(headers["gatewayresponse.header.Retry-After"], waits ? "'1'" : undefined);
  }
});

test("the functions are small, for ARM, and know their prefix and the admin", () => {
  for (const name of ["Authorizer", "Ingest", "Receiver", "Requeue"]) {
    const { Properties: one } = resource(app, "AWS::Lambda::Function", `Functions${name}`);
    assert.deepEqual(one["Architectures"], ["arm64"]);
    assert.equal(one["Runtime"], "provided.al2023");
    assert.equal(one["FunctionName"], `acme-${name.toLowerCase()}`);
    assert.deepEqual(one["Environment"], {
      Variables: {
        POSTHASTE_AWS_PREFIX: "acme",
        POSTHASTE_AUTH_ADMIN_KEY_SHA256: FULL.ADMIN_KEY_SHA256,
      },
    });
  }
});

test("logs are kept for a while, and not for ever", () => {
  const groups = Object.values(resources(app, "AWS::Logs::LogGroup"));
  assert.equal(groups.length, 7);
  for (const { Properties: group } of groups) assert.equal(group["RetentionInDays"], 90);
});
