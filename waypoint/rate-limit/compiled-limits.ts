import { hash } from 'node:crypto';
import type {
  RateLimit,
  RateLimitKeyPart,
  RateLimitRule,
  TokenLimit,
} from '../../mesh/model/rate-limit.ts';
import type { HttpRequest } from '../http-request.ts';
import { compileConditions, conditionsHold, type Conditions } from '../match/conditions.ts';
import { FieldNames, RequestFields } from '../match/request-fields.ts';
import type { BucketTable } from './bucket-table.ts';
import { clientMatches, type Client } from './client.ts';

/** What of a request rules may ask for. */
export type LimitedRequest = Pick<HttpRequest, 'downstream' | 'head' | 'rateLimitFields'>;

/** What is counted by one rule, in one place. */
export type Counting = Readonly<{ limit: TokenLimit; table: BucketTable | undefined }>;

export type CompiledRule = Readonly<{
  rule: RateLimitRule;
  of: RateLimit;
  conditions: Conditions;
  key: readonly KeyPart[];
  /** `undefined` for requests that are not counted. */
  counting: Counting | undefined;
}>;

type KeyPart = Readonly<
  { kind: Exclude<RateLimitKeyPart['kind'], 'header'> } | { kind: 'header'; slot: number }
>;

/** A longer key is kept by its hash: keys are what clients choose, and so is their length. */
const MAX_KEY_LENGTH = 128;

/** The limits of one service or of a gateway, made to be asked. */
export class CompiledLimits {
  readonly #policies: readonly (readonly CompiledRule[])[];
  readonly #fields: RequestFields;

  /**
   * @param tableOf the table of a rule of scope `local`.
   * @throws {MeshError} ERR_REGEX or ERR_HEADER_MATCH for a rule that cannot be used.
   */
  constructor(
    limits: readonly RateLimit[],
    tableOf: (rule: RateLimitRule, limit: TokenLimit) => BucketTable,
  ) {
    const names = new FieldNames();
    this.#policies = limits.map((of) =>
      of.rules.map((rule): CompiledRule => {
        const { match, limit } = rule;
        return {
          ...{ rule, of },
          conditions: compileConditions({ headers: match.headers, queryParams: [] }, names),
          key: rule.key.map((part) =>
            part.kind === 'header'
              ? { kind: part.kind, slot: names.headerSlot(part.name) }
              : { kind: part.kind },
          ),
          counting: limit && {
            limit,
            table: of.scope === 'local' ? tableOf(rule, limit) : undefined,
          },
        };
      }),
    );
    this.#fields = new RequestFields(names);
  }

  /** Nothing limits anything. */
  get isEmpty(): boolean {
    return this.#policies.length === 0;
  }

  /**
   * Calls with the rule of each policy that counts a request, and with the request's key.
   *
   * @throws {MeshError} ERR_REGEX_INPUT for a value that is too long for a pattern that has to be asked.
   */
  forEachRule(
    { head }: LimitedRequest,
    client: Client,
    count: (rule: CompiledRule, counting: Counting, key: string) => void,
  ): void {
    const fields = this.#fields;
    fields.load(head.list, undefined);
    try {
      for (const rules of this.#policies) {
        const rule = firstMatch(rules, fields, client);
        if (rule?.counting !== undefined)
          count(rule, rule.counting, keyOf(rule.key, fields, client));
      }
    } finally {
      fields.clear();
    }
  }
}

function firstMatch(
  rules: readonly CompiledRule[],
  fields: RequestFields,
  client: Client,
): CompiledRule | undefined {
  for (const each of rules) {
    const { methods, path } = each.rule.match;
    if (methods.length > 0 && !methods.includes(fields.method)) continue;
    if (path !== undefined && !pathMatches(path, fields.pathAlone())) continue;
    if (!clientMatches(each.rule.match, client)) continue;
    if (conditionsHold(each.conditions, fields)) return each;
  }
  return undefined;
}

function pathMatches(
  { kind, value }: NonNullable<RateLimitRule['match']['path']>,
  path: string,
): boolean {
  if (kind === 'exact') return path === value;
  // Of whole segments: "/a" and "/a/" mean "/a" and all below it.
  const prefix = value.endsWith('/') ? value.slice(0, -1) : value;
  if (!path.startsWith(prefix)) return false;
  return path.length === prefix.length || path.charCodeAt(prefix.length) === SLASH;
}

const SLASH = 0x2f;

function keyOf(parts: readonly KeyPart[], fields: RequestFields, client: Client): string {
  const [first] = parts;
  if (first === undefined) return '';
  if (parts.length === 1) return bounded(valueOf(first, fields, client));
  let key = '';
  for (const part of parts) {
    const value = valueOf(part, fields, client);
    // With its length: no two lists of values make one key.
    key += `${value.length}:${value}`;
  }
  return bounded(key);
}

function bounded(key: string): string {
  if (key.length <= MAX_KEY_LENGTH && key.charCodeAt(0) !== SPACE) return key;
  return `sha256:${hash('sha256', key, 'base64url')}`;
}

const SPACE = 0x20;

/** '' where there is none: who leaves a field out is counted with all that do. */
function valueOf(part: KeyPart, fields: RequestFields, client: Client): string {
  switch (part.kind) {
    case 'identity':
      return client.principal;
    case 'namespace':
      return client.namespace;
    case 'client-address':
      return client.address;
    case 'path':
      return fields.pathAlone();
    case 'header':
      return fields.header(part.slot) ?? '';
  }
}
