/**
 * What a deployment is told: `.env`, or the environment, which wins over it.
 *
 * Everything that is wrong is said at once, each problem by the name of its setting, so that
 * nobody runs a deployment five times to learn five names.
 */

/** The hosted zone whose `hooks.` and `receiver.` names are served. */
export interface Zone {
  readonly id: string;
  readonly name: string;
}

/** A deployment, as it was asked for. */
export interface Config {
  /** What the names of tables, queues, functions and stacks begin with. */
  readonly prefix: string;
  /** Without one, API Gateway's own addresses are used. */
  readonly zone?: Zone;
  /** SHA-256 of the admin key, in hex; several with commas. Without one nobody makes tenants. */
  readonly adminKeySha256?: string;
  /** Who hears of alarms; without one the topic has no subscriber of ours. */
  readonly alarmEmail?: string;
  /** With Graviton 3 or later. */
  readonly instanceType: string;
  /** How many daemons. */
  readonly instances: number;
}

/** All that is wrong with a configuration. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(["the configuration does not hold:", ...problems.map((line) => `  ${line}`)].join("\n"));
    this.name = "ConfigError";
  }
}

/**
 * c7g is sold in every region that has Graviton 3, and what is built for it runs on Graviton 4.
 * One of two processors delivers more than most will ever post.
 */
const INSTANCE_TYPE = "c7g.large";
/** One in each zone: when one is lost, the other sweeps up its retries while a new one boots. */
const INSTANCES = 2;
const INSTANCES_MAX = 20;

/** The daemon takes 60 characters; the longest name that is made of it here may have 64. */
const PREFIX = /^[A-Za-z][A-Za-z0-9-]{0,31}$/;
const ZONE_ID = /^Z[A-Z0-9]{1,31}$/;
const ZONE_NAME = /^(?=.{3,200}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/;
const SHA256 = /^[0-9a-f]{64}(,[0-9a-f]{64})*$/;
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
/** Graviton 3 and later: what scripts/build-arm64 builds the daemon for. */
const GRAVITON = /^[a-z]{1,3}[7-9]g[a-z]{0,2}\.[a-z0-9]{4,9}$/;

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads `.env`: `NAME=value` lines, comments, quotes around a value, `export` before a name. */
export function parseEnvFile(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const found = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/.exec(line);
    const [name, value] = [found?.[1], found?.[2]];
    if (name === undefined || value === undefined) continue;
    const quoted = /^(["'])(.*)\1(?:\s+#.*)?$/.exec(value);
    values[name] = quoted?.[2] ?? value.replace(/(?:^|\s)#.*$/, "").trimEnd();
  }
  return values;
}

/** A configuration, or a [`ConfigError`] that names every problem. */
export function parseConfig(environment: Environment): Config {
  const problems: string[] = [];
  const read = new Reader(environment, problems);
  const prefix = read.matching("PREFIX", PREFIX, "up to 32 letters, digits and '-', a letter first");
  const zone = parseZone(read);
  const hashes = "SHA-256 in hex, as scripts/deploy makes it; several with commas between";
  const adminKeySha256 = read.matching("ADMIN_KEY_SHA256", SHA256, hashes);
  const alarmEmail = read.matching("ALARM_EMAIL", EMAIL, "an e-mail address");
  const graviton = "an instance type with Graviton 3 or later, such as c7g.large";
  const instanceType = read.matching("INSTANCE_TYPE", GRAVITON, graviton) ?? INSTANCE_TYPE;
  const instances = read.count("INSTANCES", INSTANCES_MAX) ?? INSTANCES;
  if (!read.has("PREFIX")) {
    problems.unshift("PREFIX is missing: what the names of tables, queues and stacks begin with");
  }
  if (problems.length > 0 || prefix === undefined) throw new ConfigError(problems);
  return {
    prefix,
    instanceType,
    instances,
    ...(zone === undefined ? {} : { zone }),
    ...(adminKeySha256 === undefined ? {} : { adminKeySha256 }),
    ...(alarmEmail === undefined ? {} : { alarmEmail }),
  };
}

/** Both names or neither: with one alone nothing can be made, and the other was forgotten. */
function parseZone(read: Reader): Zone | undefined {
  const id = read.matching("HOSTED_ZONE_ID", ZONE_ID, "a Route 53 zone's id, such as Z0123456789");
  const name = read.zoneName("HOSTED_ZONE_URL");
  read.together("HOSTED_ZONE_ID", "HOSTED_ZONE_URL", "the hosted zone's id");
  read.together("HOSTED_ZONE_URL", "HOSTED_ZONE_ID", "the hosted zone's name, as example.com");
  return id === undefined || name === undefined ? undefined : { id, name };
}

/** Reads values, and collects what is wrong with them. */
class Reader {
  constructor(
    private readonly environment: Environment,
    private readonly problems: string[],
  ) {}

  has(name: string): boolean {
    return this.text(name) !== undefined;
  }

  /** An empty value is none: `.env.example` has them so. */
  private text(name: string): string | undefined {
    const text = this.environment[name]?.trim();
    return text === "" ? undefined : text;
  }

  matching(name: string, pattern: RegExp, wanted: string): string | undefined {
    const text = this.text(name);
    if (text === undefined || pattern.test(text)) return text;
    this.problems.push(`${name} is ${JSON.stringify(text)}: wanted is ${wanted}`);
    return undefined;
  }

  /** Zones are written with a dot at the end too, and DNS knows no case. */
  zoneName(name: string): string | undefined {
    const text = this.text(name)?.toLowerCase().replace(/\.$/, "");
    if (text === undefined || ZONE_NAME.test(text)) return text;
    const wanted = "wanted is a zone's name without https://, such as example.com";
    this.problems.push(`${name} is ${JSON.stringify(text)}: ${wanted}`);
    return undefined;
  }

  count(name: string, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
    if (count >= 1 && count <= max) return count;
    this.problems.push(`${name} is ${JSON.stringify(text)}: wanted is a number from 1 to ${max}`);
    return undefined;
  }

  /** Complains where `name` is missing although `other` is there. */
  together(name: string, other: string, what: string): void {
    if (this.has(other) && !this.has(name)) {
      this.problems.push(`${name} is missing: ${what}; it goes with ${other}, or neither is set`);
    }
  }
}
