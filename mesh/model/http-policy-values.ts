import type { IpAddress } from '../../base/address.ts';
import type { ServiceAccountMatch, StringMatch } from './authorization.ts';
import type { PolicyConnection } from './authorize.ts';
import { claimTexts } from './claims.ts';
import type { HttpCondition, HttpMatch, TextAttribute } from './http-policy.ts';
import { identityParts, principalOf } from './identity.ts';
import type { PathTemplate } from './path-template.ts';
import { accountKey } from './policy-values.ts';
import { TemplateTable } from './template-table.ts';
import {
  CidrTable,
  releaseTests,
  TextTable,
  useValues,
  valueIn,
  type FieldTest,
  type PolicyValue,
  type RepeatedField,
} from './value-tables.ts';

/** Of a token that was verified. */
export type RequestIdentity = Readonly<{
  /** `<issuer>/<subject>`; '' without a subject. */
  principal: string;
  audiences: readonly string[];
  /** `azp`; '' without. */
  presenter: string;
  /** The payload; objects in it have no prototype that matters, because only own properties are read. */
  claims: object;
}>;

/** What a request brings, as it is after normalisation. */
export type HttpAttributes = Readonly<{
  /** Lower case, without port; '' for none. */
  hostname: string;
  /** Its port, or that of the scheme. */
  hostPort: number;
  method: string;
  /** Without the query. */
  path: string;
  /** Flat, names in lower case; pseudo-header fields may be among them. */
  headers: readonly string[];
  identity?: RequestIdentity;
}>;

/** What a waypoint's policies may look at. */
export type PolicyRequest = Readonly<{
  connection: PolicyConnection;
  /** The client as trusted proxies tell, see remoteAddress(); the source address without any. */
  remoteIp: IpAddress;
  /** '' for none. */
  sni: string;
  /** Absent for traffic that is not HTTP. */
  http?: HttpAttributes;
}>;

/** In the order in which RuleIndex divides: what a request matches one value of, and policies name, comes first. */
const ACCOUNT = 0;
const PORT = 1;
const PATH = 9;
const HEADER = 12;
const CLAIM = 13;
const DESTINATION_IP = 14;
const SOURCE_IP = 15;
const REMOTE_IP = 16;
const DIMENSIONS = 17;

const TEXT_DIMENSIONS: Readonly<Record<TextAttribute, number>> = {
  'source.namespace': 2,
  'source.principal': 3,
  'source.trustDomain': 4,
  'request.auth.principal': 5,
  'request.auth.presenter': 6,
  'request.auth.audiences': 7,
  'request.host': 8,
  'request.method': 10,
  'connection.sni': 11,
};

/** A bit for each time that a field comes, and one bit less than an integer has. */
const MAX_REPEATED_FIELDS = 30;

/** A header field or claim that policies name; it goes when they no longer do. */
type NamedTable = RepeatedField & {
  readonly texts: TextTable;
  readonly forget: () => void;
  uses: number;
  /** How often the field came in what has the stamp `seen`. */
  count: number;
  seen: number;
};

/** All values that a waypoint's policies use, with tables to find those that a request matches. */
export class HttpPolicyValues {
  readonly #texts: Readonly<Record<TextAttribute, TextTable>>;
  readonly #paths = new TextTable(PATH);
  readonly #templates = new TemplateTable(PATH);
  readonly #accounts = new Map<string, PolicyValue>();
  readonly #ports = new Map<number, PolicyValue>();
  readonly #ips = {
    'source.ip': new CidrTable(SOURCE_IP),
    'remote.ip': new CidrTable(REMOTE_IP),
    'destination.ip': new CidrTable(DESTINATION_IP),
  };
  readonly #headers = new Map<string, NamedTable>();
  readonly #claims = new Map<string, NamedTable & { readonly path: readonly string[] }>();
  readonly #owners = new WeakMap<FieldTest, NamedTable>();
  readonly matched: readonly PolicyValue[][] = Array.from({ length: DIMENSIONS }, () => []);
  stamp = 0;
  /** Which time it is that a repeated field comes, as a bit. */
  #bit = 1;

  constructor() {
    const tables = Object.entries(TEXT_DIMENSIONS).map(([attribute, dimension]) => [
      attribute,
      new TextTable(dimension),
    ]);
    this.#texts = Object.fromEntries(tables) as Record<TextAttribute, TextTable>;
  }

  /**
   * The tests of a match. Each must be given back with release().
   *
   * @param every of a field that comes several times each must hold, as it must to allow; otherwise one is enough.
   * @throws {MeshError} ERR_PATH_TEMPLATE
   */
  acquire(match: HttpMatch, every: boolean): readonly FieldTest[] {
    return match.conditions.flatMap((condition) => this.#acquire(condition, every));
  }

  release(tests: readonly FieldTest[]): void {
    releaseTests(tests);
    for (const test of tests) {
      const owner = this.#owners.get(test);
      if (owner !== undefined && --owner.uses === 0) owner.forget();
    }
  }

  #acquire(condition: HttpCondition, every: boolean): FieldTest[] {
    switch (condition.attribute) {
      case 'source.serviceAccount':
        return testsOf(ACCOUNT, condition, (one: ServiceAccountMatch) =>
          valueIn(this.#accounts, accountKey(one), ACCOUNT),
        );
      case 'source.ip':
      case 'remote.ip':
      case 'destination.ip': {
        const table = this.#ips[condition.attribute];
        return testsOf(IP_DIMENSIONS[condition.attribute], condition, (one) => table.value(one));
      }
      case 'destination.port':
        return testsOf(PORT, condition, (one) => valueIn(this.#ports, one, PORT));
      case 'request.path':
        return testsOf(PATH, condition, (one: StringMatch | PathTemplate) =>
          one.kind === 'template' ? this.#templates.value(one.value) : this.#paths.value(one),
        );
      case 'request.headers': {
        const table = this.#headerTable(condition.name);
        const tests = testsOf(HEADER, condition, (one) => table.texts.value(one));
        return this.#own(
          table,
          tests.map((test) => ({ ...test, repeated: table, every })),
        );
      }
      case 'request.auth.claims': {
        const table = this.#claimTable(condition.claim);
        return this.#own(
          table,
          testsOf(CLAIM, condition, (one) => table.texts.value(one)),
        );
      }
      default: {
        const table = this.#texts[condition.attribute];
        const dimension = TEXT_DIMENSIONS[condition.attribute];
        return testsOf(dimension, condition, (one) => table.value(one), table);
      }
    }
  }

  #own(owner: NamedTable, tests: FieldTest[]): FieldTest[] {
    owner.uses += tests.length;
    for (const test of tests) this.#owners.set(test, owner);
    return tests;
  }

  #headerTable(name: string): NamedTable {
    const known = this.#headers.get(name);
    if (known !== undefined) return known;
    const table = newTable(HEADER, () => this.#headers.delete(name));
    this.#headers.set(name, table);
    return table;
  }

  #claimTable(path: readonly string[]): NamedTable {
    const key = JSON.stringify(path);
    const known = this.#claims.get(key);
    if (known !== undefined) return known;
    const table = { ...newTable(CLAIM, () => this.#claims.delete(key)), path };
    this.#claims.set(key, table);
    return table;
  }

  /**
   * Marks what a request matches, for the tests that follow.
   *
   * @returns the name of a header field that came too often to be looked at: then nothing may be allowed.
   */
  match({ connection, remoteIp, sni, http }: PolicyRequest): string | undefined {
    this.stamp++;
    this.#bit = 1;
    for (const list of this.matched) list.length = 0;
    this.#matchSource(connection);
    this.#ips['remote.ip'].find(remoteIp, this.#mark);
    this.#ips['destination.ip'].find(connection.destinationIp, this.#mark);
    this.#mark(this.#ports.get(connection.destinationPort));
    this.#matchText('connection.sni', sni);
    if (http === undefined) return undefined;
    this.#matchText('request.host', http.hostname);
    if (http.hostname !== '')
      this.#texts['request.host'].find(`${http.hostname}:${http.hostPort}`, this.#mark);
    this.#matchText('request.method', http.method);
    this.#paths.find(http.path, this.#mark);
    this.#templates.find(http.path, this.#mark);
    this.#matchIdentity(http.identity);
    return this.#headers.size === 0 ? undefined : this.#matchHeaders(http.headers);
  }

  #matchSource({ sourceIdentity, sourceIp }: PolicyConnection): void {
    this.#ips['source.ip'].find(sourceIp, this.#mark);
    if (sourceIdentity === undefined) {
      for (const attribute of SOURCE_TEXTS) this.#mark(this.#texts[attribute].absence);
      return;
    }
    const parts = identityParts(sourceIdentity);
    this.#texts['source.namespace'].find(parts.namespace, this.#mark);
    this.#texts['source.principal'].find(principalOf(sourceIdentity), this.#mark);
    this.#texts['source.trustDomain'].find(parts.trustDomain, this.#mark);
    this.#mark(this.#accounts.get(accountKey(parts)));
  }

  #matchIdentity(identity: RequestIdentity | undefined): void {
    this.#matchText('request.auth.principal', identity?.principal ?? '');
    this.#matchText('request.auth.presenter', identity?.presenter ?? '');
    const audiences = this.#texts['request.auth.audiences'];
    const given = identity?.audiences ?? [];
    if (given.length === 0) this.#mark(audiences.absence);
    for (const audience of given) audiences.find(audience, this.#mark);
    if (identity === undefined) return;
    for (const { path, texts } of this.#claims.values())
      for (const text of claimTexts(identity.claims, path)) texts.find(text, this.#mark);
  }

  #matchText(attribute: TextAttribute, text: string): void {
    const table = this.#texts[attribute];
    if (text === '') this.#mark(table.absence);
    else table.find(text, this.#mark);
  }

  #matchHeaders(headers: readonly string[]): string | undefined {
    let tooOften: string | undefined;
    let cookie: string | undefined;
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const value = headers[index + 1] ?? '';
      // Crumbs of one text: RFC 9113 section 8.2.3.
      if (name === 'cookie') cookie = cookie === undefined ? value : `${cookie}; ${value}`;
      else if (!this.#matchHeader(name, value)) tooOften = name;
    }
    if (cookie !== undefined) this.#matchHeader('cookie', cookie);
    return tooOften;
  }

  /** @returns false when the field came so often before that this value cannot be told apart. */
  #matchHeader(name: string, value: string): boolean {
    const table = this.#headers.get(name);
    if (table === undefined) return true;
    if (table.seen !== this.stamp) [table.seen, table.count] = [this.stamp, 0];
    if (table.count === MAX_REPEATED_FIELDS) return false;
    this.#bit = 1 << table.count++;
    if (table.count > 1) [table.stamp, table.full] = [this.stamp, (this.#bit << 1) - 1];
    table.texts.find(value, this.#mark);
    return true;
  }

  readonly #mark = (value: PolicyValue | undefined): void => {
    if (value === undefined) return;
    if (value.stamp === this.stamp) {
      value.mask |= this.#bit;
      return;
    }
    value.stamp = this.stamp;
    value.mask = this.#bit;
    this.matched[value.dimension]?.push(value);
  };
}

const IP_DIMENSIONS = {
  'source.ip': SOURCE_IP,
  'remote.ip': REMOTE_IP,
  'destination.ip': DESTINATION_IP,
} as const;

const SOURCE_TEXTS = ['source.namespace', 'source.principal', 'source.trustDomain'] as const;

function newTable(dimension: number, forget: () => void): NamedTable {
  const texts = new TextTable(dimension);
  return { texts, forget, uses: 0, count: 0, seen: 0, stamp: 0, full: 0 };
}

function testsOf<T>(
  dimension: number,
  { values, notValues }: Readonly<{ values: readonly T[]; notValues: readonly T[] }>,
  find: (value: T) => PolicyValue,
  absent?: TextTable,
): FieldTest[] {
  const tests: FieldTest[] = [];
  if (values.length > 0) {
    const wanted = useValues(values, find);
    tests.push({ dimension, negative: false, values: wanted, wanted });
  }
  if (notValues.length > 0) {
    const excluded = useValues(notValues, find);
    // "Not any" is the wish that there be none, and as a wish it divides.
    const wanted = absent?.hasPresence(excluded) === true ? [absent.absence] : undefined;
    tests.push({ dimension, negative: true, values: excluded, ...(wanted && { wanted }) });
  }
  return tests;
}
