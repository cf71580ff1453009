import { decodeMessage, type MessageDecoder } from '../proto/decode.ts';
import type { BackendTarget } from '../model/http-filter.ts';
import type { BackendTarget as BackendTargetMessage } from '../proto/gen/waypoint-routes.ts';
import { decodePort, decodeServiceKey, resourceError } from './codec-fields.ts';

type Message<T> = MessageDecoder<T> & Readonly<{ encode(message: T): { finish(): Uint8Array } }>;

/**
 * Reads a message of our own resources. Other than what proxies of every mesh get, they are refused when a part of them is
 * not known here: what a newer control plane narrows by it would else be wider.
 *
 * @param what names the message in the error.
 * @throws {MeshError} ERR_XDS_RESOURCE for unknown fields; ERR_PROTO for what is no message.
 */
export function decodeWholly<T>(type: Message<T>, bytes: Uint8Array, what: string): T {
  const message = decodeMessage(type, bytes, what, 'upstream');
  // Reading skips unknown fields, so that they are missing when it is written again.
  if (Buffer.compare(type.encode(message).finish(), bytes) !== 0)
    throw resourceError(`Cannot use ${what}: it has fields that are not known here`);
  return message;
}

/** @throws {MeshError} ERR_XDS_RESOURCE for a name that is not among those known. */
export function decodeName<T extends string>(names: readonly T[], text: string, field: string): T {
  const known = names.find((name) => name === text);
  if (known === undefined)
    throw resourceError(`unknown value ${JSON.stringify(text.slice(0, 80))} of ${field}`);
  return known;
}

/** A time, share or bound. @throws {MeshError} ERR_XDS_RESOURCE below zero and for what is no number. */
export function decodeAmount(value: number, field: string): number {
  if (!(value >= 0)) throw resourceError(`bad value ${value} of ${field}`);
  return value;
}

/** @throws {MeshError} ERR_XDS_RESOURCE when it is absent. */
export function required<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw resourceError(`no ${field}`);
  return value;
}

export function decodeTarget({ service, port, subset }: BackendTargetMessage): BackendTarget {
  return {
    service: decodeServiceKey(service),
    port: decodePort(port, 'target.port', { zero: false }),
    ...(subset === undefined ? {} : { subset }),
  };
}

export function encodeTarget({ service, port, subset }: BackendTarget): BackendTargetMessage {
  return { service, port, subset };
}

/** A map by port as a list. @throws {MeshError} ERR_XDS_RESOURCE for a key that comes twice. */
export function decodeUnique<M, K, V>(
  list: readonly M[],
  decode: (message: M) => readonly [K, V],
  what: string,
): ReadonlyMap<K, V> {
  const found = new Map<K, V>();
  for (const message of list) {
    const [key, value] = decode(message);
    if (found.has(key)) throw resourceError(`${what} ${String(key)} twice`);
    found.set(key, value);
  }
  return found;
}

/** The entries of a map in the order of their keys: equal maps give equal bytes. */
export function sorted<K extends string | number, V>(map: ReadonlyMap<K, V>): [K, V][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
