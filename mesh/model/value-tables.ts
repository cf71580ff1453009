import { familyOf, ipToBytes, type Cidr, type IpAddress } from '../../base/address.ts';
import type { StringMatch } from './authorization.ts';

/**
 * One value of a policy, the same object wherever it occurs. What is decided about marks the values that it matches with
 * its stamp, so whether a field holds is a comparison of numbers.
 */
export type PolicyValue = {
  /** What the value is compared with. */
  readonly dimension: number;
  /** Takes it out of its table. */
  readonly forget: () => void;
  stamp: number;
  /** Of a field that came several times: a bit for each time that matches. Meant only together with the stamp. */
  mask: number;
  uses: number;
};

/** A field that what is decided about may have several times; the stamp says that it has, `full` a bit for each time. */
export type RepeatedField = { stamp: number; full: number };

/** One field of a match with its values. */
export type FieldTest = Readonly<{
  dimension: number;
  negative: boolean;
  values: readonly PolicyValue[];
  /** Of these one must be matched, if the field is to hold; absent where a field only excludes. */
  wanted?: readonly PolicyValue[];
  /** For a field that may be repeated. */
  repeated?: RepeatedField;
  /** Of a repeated field every time must hold, not only one. */
  every?: boolean;
}>;

/** What is matched now: the values of the current stamp, by dimension. */
export type MatchedValues = Readonly<{
  stamp: number;
  matched: readonly (readonly PolicyValue[])[];
}>;

/** Tells the values of a match apart, and keeps them as long as they are used. */
export interface ValueStore<Match> extends MatchedValues {
  /** The tests of a match, none for one that asks for nothing. Each must be given back with release(). */
  acquire(match: Match): readonly FieldTest[];
  release(tests: readonly FieldTest[]): void;
}

/** Gives back what acquire() gave. */
export function releaseTests(tests: readonly FieldTest[]): void {
  for (const { values } of tests) {
    for (const value of values) {
      if (--value.uses === 0) value.forget();
    }
  }
}

/** The values of a list, each once, with a use more. */
export function useValues<T>(
  list: readonly T[],
  find: (value: T) => PolicyValue,
): readonly PolicyValue[] {
  const values = [...new Set(list.map(find))];
  for (const value of values) value.uses++;
  return values;
}

export type Mark = (value: PolicyValue | undefined) => void;

/** The value of a key in its table, made when it is new; `forgotten` runs when it is used no more. */
export function valueIn<K>(
  table: Map<K, PolicyValue>,
  key: K,
  dimension: number,
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

export function makeValue(dimension: number, forget: () => void): PolicyValue {
  return { dimension, forget, stamp: 0, mask: 0, uses: 0 };
}

/** Exact texts, prefixes and suffixes; these by length, because policies have few different lengths. */
export class TextTable {
  readonly #dimension: number;
  readonly #exact = new Map<string, PolicyValue>();
  readonly #prefixes = new LengthTables<string>();
  readonly #suffixes = new LengthTables<string>();
  readonly #presence: PolicyValue;
  /** Matched where there is no text: the opposite of presence. */
  readonly absence: PolicyValue;

  constructor(dimension: number) {
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
export class CidrTable {
  readonly #dimension: number;
  readonly #four = new LengthTables<number>();
  readonly #six = new LengthTables<string>();

  constructor(dimension: number) {
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

  value(length: number, key: K, dimension: number): PolicyValue {
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
