import { familyOf, ipToBytes, type Cidr, type IpAddress } from '../../base/address.ts';
import type { PolicyMatch, ServiceAccountMatch, StringMatch } from './authorization.ts';
import type { PolicyConnection } from './authorize.ts';
import { identityParts, principalOf } from './identity.ts';

/**
 * What a value is compared with; a field of a match and its `not` twin share a dimension. In the order in which
 * RuleIndex divides.
 */
export type Dimension = 0 | 1 | 2 | 3 | 4 | 5;
export const DIMENSIONS: readonly Dimension[] = [0, 1, 2, 3, 4, 5];

const ACCOUNT: Dimension = 0;
const PORT: Dimension = 1;
const NAMESPACE: Dimension = 2;
const PRINCIPAL: Dimension = 3;
const DESTINATION_IP: Dimension = 4;
const SOURCE_IP: Dimension = 5;

/**
 * One value of a policy, the same object wherever it occurs. A connection marks the values that it matches with its
 * stamp, so whether a field holds is a comparison of numbers.
 */
export type PolicyValue = {
  readonly dimension: Dimension;
  /** Takes it out of its table. */
  readonly forget: () => void;
  stamp: number;
  uses: number;
};

/** One field of a match with its values. */
export type FieldTest = Readonly<{
  dimension: Dimension;
  negative: boolean;
  values: readonly PolicyValue[];
  /** Of these the connection must match one, if the field is to hold; absent where a field only excludes. */
  wanted?: readonly PolicyValue[];
}>;

/** All values that policies use, with tables to find those that a connection matches. */
export class PolicyValues {
  readonly #principals = new TextTable(PRINCIPAL);
  readonly #namespaces = new TextTable(NAMESPACE);
  readonly #accounts = new Map<string, PolicyValue>();
  readonly #sources = new CidrTable(SOURCE_IP);
  readonly #destinations = new CidrTable(DESTINATION_IP);
  readonly #ports = new Map<number, PolicyValue>();
  /** By dimension: the values that the connection of the current stamp matches. */
  readonly matched: readonly PolicyValue[][] = DIMENSIONS.map(() => []);
  stamp = 0;

  /** The tests of a match, one for each field that has values. Each must be given back with release(). */
  acquire(match: PolicyMatch): readonly FieldTest[] {
    const tests: FieldTest[] = [];
    const field = <T>(
      dimension: Dimension,
      positive: readonly T[],
      negative: readonly T[],
      find: (value: T) => PolicyValue,
      absent?: TextTable,
    ): void => {
      if (positive.length > 0) {
        const values = use(positive, find);
        tests.push({ dimension, negative: false, values, wanted: values });
      }
      if (negative.length > 0) {
        const values = use(negative, find);
        // "Not any" is the wish that there be none, and as a wish it divides.
        const wanted = absent?.hasPresence(values) === true ? [absent.absence] : undefined;
        tests.push({ dimension, negative: true, values, ...(wanted && { wanted }) });
      }
    };
    const { namespaces, principals, serviceAccounts, sourceIps, destinationIps } = match;
    const principalTable = this.#principals;
    const namespaceTable = this.#namespaces;
    field(PRINCIPAL, principals, match.notPrincipals, findIn(principalTable), principalTable);
    field(NAMESPACE, namespaces, match.notNamespaces, findIn(namespaceTable), namespaceTable);
    field(ACCOUNT, serviceAccounts, match.notServiceAccounts, (value) => this.#account(value));
    field(SOURCE_IP, sourceIps, match.notSourceIps, (value) => this.#sources.value(value));
    field(DESTINATION_IP, destinationIps, match.notDestinationIps, (value) =>
      this.#destinations.value(value),
    );
    field(PORT, match.destinationPorts, match.notDestinationPorts, (value) => this.#port(value));
    return tests;
  }

  release(tests: readonly FieldTest[]): void {
    for (const { values } of tests) {
      for (const value of values) {
        if (--value.uses === 0) value.forget();
      }
    }
  }

  /** Marks what a connection matches, for the tests that follow. */
  match(connection: PolicyConnection): void {
    const { sourceIdentity } = connection;
    this.stamp++;
    for (const list of this.matched) list.length = 0;
    let namespace = '';
    if (sourceIdentity === undefined) this.#mark(this.#principals.absence);
    else {
      const parts = identityParts(sourceIdentity);
      namespace = parts.namespace;
      this.#principals.find(principalOf(sourceIdentity), this.#mark);
      this.#mark(this.#accounts.get(accountKey(parts)));
    }
    this.#namespaces.find(namespace, this.#mark);
    this.#sources.find(connection.sourceIp, this.#mark);
    this.#destinations.find(connection.destinationIp, this.#mark);
    this.#mark(this.#ports.get(connection.destinationPort));
  }

  readonly #mark = (value: PolicyValue | undefined): void => {
    if (value === undefined) return;
    value.stamp = this.stamp;
    this.matched[value.dimension]?.push(value);
  };

  #account(wanted: ServiceAccountMatch): PolicyValue {
    return valueIn(this.#accounts, accountKey(wanted), ACCOUNT);
  }

  #port(wanted: number): PolicyValue {
    return valueIn(this.#ports, wanted, PORT);
  }
}

function use<T>(list: readonly T[], find: (value: T) => PolicyValue): readonly PolicyValue[] {
  const values = [...new Set(list.map(find))];
  for (const value of values) value.uses++;
  return values;
}

function findIn(table: TextTable): (wanted: StringMatch) => PolicyValue {
  return (wanted) => table.value(wanted);
}

function accountKey({ namespace, serviceAccount }: ServiceAccountMatch): string {
  return `${namespace}/${serviceAccount}`;
}

type Mark = (value: PolicyValue | undefined) => void;

/** The value of a key in its table, made when it is new; `forgotten` runs when it is used no more. */
function valueIn<K>(
  table: Map<K, PolicyValue>,
  key: K,
  dimension: Dimension,
  forgotten?: () => void,
): PolicyValue {
  const known = table.get(key);
  if (known !== undefined) return known;
  const forget = (): void => {
    table.delete(key);
    forgotten?.();
  };
  const value = makeValue(dimension, forget);
  table.set(key, value);
  return value;
}

function makeValue(dimension: Dimension, forget: () => void): PolicyValue {
  return { dimension, forget, stamp: 0, uses: 0 };
}

/** Exact texts, prefixes and suffixes; these by length, because policies have few different lengths. */
class TextTable {
  readonly #dimension: Dimension;
  readonly #exact = new Map<string, PolicyValue>();
  readonly #prefixes = new LengthTables<string>();
  readonly #suffixes = new LengthTables<string>();
  readonly #presence: PolicyValue;
  /** Matched where there is no text: the opposite of presence. */
  readonly absence: PolicyValue;

  constructor(dimension: Dimension) {
    this.#dimension = dimension;
    this.#presence = makeValue(dimension, () => undefined);
    this.absence = makeValue(dimension, () => undefined);
  }

  hasPresence(values: readonly PolicyValue[]): boolean {
    return values.includes(this.#presence);
  }

  value(wanted: StringMatch): PolicyValue {
    switch (wanted.kind) {
      case 'exact':
        return valueIn(this.#exact, wanted.value, this.#dimension);
      case 'prefix':
        return this.#prefixes.value(wanted.value.length, wanted.value, this.#dimension);
      case 'suffix':
        return this.#suffixes.value(wanted.value.length, wanted.value, this.#dimension);
      case 'presence':
        return this.#presence;
    }
  }

  find(text: string, mark: Mark): void {
    mark(this.#exact.get(text));
    for (const [length, table] of this.#prefixes.byLength) {
      if (length <= text.length) mark(table.get(text.slice(0, length)));
    }
    for (const [length, table] of this.#suffixes.byLength) {
      if (length <= text.length) mark(table.get(text.slice(text.length - length)));
    }
    mark(text === '' ? this.absence : this.#presence);
  }
}

/** Networks by prefix length. The key of a network is a number for IPv4 and a text for IPv6. */
class CidrTable {
  readonly #dimension: Dimension;
  readonly #four = new LengthTables<number>();
  readonly #six = new LengthTables<string>();

  constructor(dimension: Dimension) {
    this.#dimension = dimension;
  }

  value({ ip, prefix }: Cidr): PolicyValue {
    return familyOf(ip) === 4
      ? this.#four.value(prefix, maskIpv4(readIpv4(ip), prefix), this.#dimension)
      : this.#six.value(prefix, maskIpv6(ipToBytes(ip), prefix), this.#dimension);
  }

  find(ip: IpAddress, mark: Mark): void {
    if (familyOf(ip) === 4) {
      if (this.#four.byLength.size === 0) return;
      const address = readIpv4(ip);
      for (const [prefix, table] of this.#four.byLength) mark(table.get(maskIpv4(address, prefix)));
    } else {
      if (this.#six.byLength.size === 0) return;
      const bytes = ipToBytes(ip);
      for (const [prefix, table] of this.#six.byLength) mark(table.get(maskIpv6(bytes, prefix)));
    }
  }
}

class LengthTables<K> {
  readonly byLength = new Map<number, Map<K, PolicyValue>>();

  value(length: number, key: K, dimension: Dimension): PolicyValue {
    const table = this.byLength.get(length) ?? new Map<K, PolicyValue>();
    this.byLength.set(length, table);
    return valueIn(table, key, dimension, () => {
      if (table.size === 0) this.byLength.delete(length);
    });
  }
}

/** The address as an unsigned number; its text is canonical, so only digits and dots are read. */
function readIpv4(ip: IpAddress): number {
  let address = 0;
  let byte = 0;
  for (let at = 0; at < ip.length; at++) {
    const code = ip.charCodeAt(at);
    if (code === 0x2e) {
      address = address * 256 + byte;
      byte = 0;
    } else byte = byte * 10 + code - 0x30;
  }
  return address * 256 + byte;
}

function maskIpv4(address: number, prefix: number): number {
  // A shift by 32 is one by 0 in JavaScript.
  return prefix === 0 ? 0 : (address & (-1 << (32 - prefix))) >>> 0;
}

function maskIpv6(bytes: Uint8Array, prefix: number): string {
  const whole = prefix >> 3;
  let key = String.fromCharCode(...bytes.subarray(0, whole));
  const bits = prefix & 7;
  if (bits > 0) key += String.fromCharCode((bytes[whole] ?? 0) & (0xff00 >> bits) & 0xff);
  return key;
}
