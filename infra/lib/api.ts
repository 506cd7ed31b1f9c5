/**
 * The two REST APIs: `hooks.<zone>` for tenants, `receiver.<zone>` for test deliveries.
 *
 * Which routes there are is said once, in `crates/api`; API Gateway passes everything on, and only
 * knows which paths want a key. Bodies travel as base64 in both directions: as text, API Gateway
 * would replace what is not UTF-8, and an event is delivered byte for byte or not at all. The price
 * is a third of a function's 6 MB: a body may have 4.5 MB.
 */

import { Duration, RemovalPolicy, Validations } from "aws-cdk-lib";
import * as acm from "aws-cdk-lib/aws-certificatemanager";
import * as apigateway from "aws-cdk-lib/aws-apigateway";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import * as route53 from "aws-cdk-lib/aws-route53";
import { ApiGatewayDomain } from "aws-cdk-lib/aws-route53-targets";
import { Construct } from "constructs";
import type { Zone } from "./config";
import { LOGS_KEPT } from "./functions";

/** As long as the standalone mode trusts a key; so long a revoked key may still be served. */
const KEY_CACHE = Duration.minutes(5);
/** What a region's account gets is 10,000 a second for all its APIs. */
const RATE_LIMIT = 5_000;
const BURST_LIMIT = 2_500;
/** Seen in the default addresses only. */
const STAGE = "live";

/**
 * The form of an `Authorization` header that is worth a look-up. Anything else is refused here
 * with 401, and costs no call.
 */
const TOKEN = "^[Bb][Ee][Aa][Rr][Ee][Rr] [!-~]{1,512}$";

export interface ApiProps {
  readonly prefix: string;
  /** `hooks` or `receiver`: the name below the zone. */
  readonly host: "hooks" | "receiver";
  readonly description: string;
  readonly authorizer: lambda.IFunction;
  readonly zone: Zone | undefined;
}

export class Api extends Construct {
  readonly rest: apigateway.RestApi;
  /** Where clients find it, without a slash at the end. */
  readonly url: string;
  private readonly byKey: apigateway.MethodOptions;

  constructor(scope: Construct, id: string, props: ApiProps) {
    super(scope, id);
    this.rest = this.api(props);
    const authorizer = new apigateway.TokenAuthorizer(this, "Authorizer", {
      authorizerName: `${props.prefix}-${props.host}`,
      handler: props.authorizer,
      resultsCacheTtl: KEY_CACHE,
      validationRegex: TOKEN,
    });
    this.byKey = {
      authorizer,
      authorizationType: apigateway.AuthorizationType.CUSTOM,
    };
    this.answerAsWeDo();
    this.acknowledge();
    const name = props.zone === undefined ? undefined : this.named(props.host, props.zone);
    this.url = name === undefined ? this.rest.url.replace(/\/$/, "") : `https://${name}`;
  }

  /** Serves a path and what is below it to whoever has a key. */
  withKey(path: string, handler: lambda.IFunction, method = "ANY"): void {
    this.rest.root.resourceForPath(path).addMethod(method, integration(handler), this.byKey);
  }

  /** Serves a path to everybody. */
  open(path: string, method: string, handler: lambda.IFunction, reason: string): void {
    const resource = this.rest.root.resourceForPath(path);
    const added = resource.addMethod(method, integration(handler), {
      authorizationType: apigateway.AuthorizationType.NONE,
    });
    Validations.of(added).acknowledge(
      { id: "AwsSolutions-APIG4", reason },
      { id: "AwsSolutions-COG4", reason },
    );
  }

  private api(props: ApiProps): apigateway.RestApi {
    const access = new logs.LogGroup(this, "Access", {
      logGroupName: `/posthaste/${props.prefix}/${props.host}`,
      retention: LOGS_KEPT,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const rest = new apigateway.RestApi(this, "Rest", {
      restApiName: `${props.prefix}-${props.host}`,
      description: props.description,
      endpointConfiguration: { types: [apigateway.EndpointType.REGIONAL] },
      // With a name of its own, an API has one door.
      disableExecuteApiEndpoint: props.zone !== undefined,
      binaryMediaTypes: ["*/*"],
      cloudWatchRole: false,
      deployOptions: {
        stageName: STAGE,
        throttlingRateLimit: RATE_LIMIT,
        throttlingBurstLimit: BURST_LIMIT,
        metricsEnabled: true,
        // Errors of API Gateway itself; never the requests, which hold payloads and keys.
        loggingLevel: apigateway.MethodLoggingLevel.ERROR,
        dataTraceEnabled: false,
        accessLogDestination: new apigateway.LogGroupLogDestination(access),
        accessLogFormat: accessLine(),
      },
    });
    // CDK's own output of an address, which may be shut; ours says which one holds.
    rest.node.tryRemoveChild("Endpoint");
    return rest;
  }

  /** What API Gateway answers by itself has the form of our own errors. */
  private answerAsWeDo(): void {
    const retry = { "Retry-After": "'1'" };
    const { ResponseType: type } = apigateway;
    this.answer("Refused", type.UNAUTHORIZED, 401, "a valid API key is needed", {
      "WWW-Authenticate": "'Bearer'",
    });
    this.answer("Denied", type.ACCESS_DENIED, 403, "the API key is not valid");
    this.answer("NoRoute", type.MISSING_AUTHENTICATION_TOKEN, 404, "no such route");
    this.answer("TooLarge", type.REQUEST_TOO_LARGE, 413, "the body is too large");
    this.answer("Throttled", type.THROTTLED, 429, "too many requests", retry);
    this.answer("Late", type.INTEGRATION_TIMEOUT, 503, "cannot answer in time", retry);
    this.answer("Failed", type.INTEGRATION_FAILURE, 503, "cannot answer now", retry);
    // A fault of the authorizer is ours, and no verdict about the key. API Gateway has two types for
    // it: a function that fails or is late comes to the second one.
    const unsure = "cannot check the API key now";
    this.answer("Unsure", type.AUTHORIZER_FAILURE, 500, unsure);
    this.answer("UnsureToo", type.AUTHORIZER_CONFIGURATION_ERROR, 500, unsure);
    // The rest by its type, which there always is; API Gateway's own message may be null.
    const why = "$context.error.responseType";
    this.answer("Client", type.DEFAULT_4XX, undefined, `API Gateway refuses this: ${why}`);
    this.answer("Server", type.DEFAULT_5XX, undefined, `API Gateway cannot answer: ${why}`);
  }

  private answer(
    id: string,
    type: apigateway.ResponseType,
    status: number | undefined,
    detail: string,
    headers: Record<string, string> = {},
  ): void {
    this.rest.addGatewayResponse(id, {
      type,
      ...(status === undefined ? {} : { statusCode: String(status) }),
      responseHeaders: headers,
      templates: { "application/json": JSON.stringify({ detail }) },
    });
  }

  /** `<host>.<zone>`, with a certificate that the zone itself vouches for. */
  private named(host: string, zone: Zone): string {
    const domainName = `${host}.${zone.name}`;
    const hostedZone = route53.HostedZone.fromHostedZoneAttributes(this, "Zone", {
      hostedZoneId: zone.id,
      zoneName: zone.name,
    });
    const certificate = new acm.Certificate(this, "Certificate", {
      domainName,
      validation: acm.CertificateValidation.fromDns(hostedZone),
    });
    const domain = new apigateway.DomainName(this, "Domain", {
      domainName,
      certificate,
      endpointType: apigateway.EndpointType.REGIONAL,
      securityPolicy: apigateway.SecurityPolicy.TLS_1_2,
    });
    new apigateway.BasePathMapping(this, "Mapping", {
      domainName: domain,
      restApi: this.rest,
      stage: this.rest.deploymentStage,
    });
    new route53.ARecord(this, "Record", {
      zone: hostedZone,
      recordName: host,
      target: route53.RecordTarget.fromAlias(new ApiGatewayDomain(domain)),
    });
    return domainName;
  }

  private acknowledge(): void {
    Validations.of(this).acknowledge(
      {
        id: "AwsSolutions-APIG2",
        reason: "The functions check every request; a validator would have to parse the payload.",
      },
      {
        id: "AwsSolutions-APIG3",
        reason: "A web firewall has a monthly price; keys, throttling and small bodies come first.",
      },
      {
        id: "AwsSolutions-COG4",
        reason: "Tenants are programs with API keys, which our own authorizer checks.",
      },
    );
  }
}

/** The API may call the function for each of its methods: one permission, not one for each. */
function integration(handler: lambda.IFunction): apigateway.LambdaIntegration {
  return new apigateway.LambdaIntegration(handler, { scopePermissionToMethod: false });
}

/** One line a request: never a header, a query or a body. */
function accessLine(): apigateway.AccessLogFormat {
  const { AccessLogField: field } = apigateway;
  const line = {
    requestId: field.contextRequestId(),
    at: field.contextRequestTimeEpoch(),
    ip: field.contextIdentitySourceIp(),
    method: field.contextHttpMethod(),
    path: field.contextPath(),
    status: field.contextStatus(),
    bytes: field.contextResponseLength(),
    ms: field.contextResponseLatency(),
    tenant: field.contextAuthorizer("tenantId"),
    error: field.contextErrorResponseType(),
  };
  return apigateway.AccessLogFormat.custom(JSON.stringify(line));
}
