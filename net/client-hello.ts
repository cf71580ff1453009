/** What a client asks for in the first message of TLS, before anything is decided about it. */
export type ClientHello = Readonly<{
  /** The server that it asks for, in lower case; '' when it asks for none. RFC 6066 section 3. */
  serverName: string;
  /** In the client's order; empty when it offers none. RFC 7301. */
  protocols: readonly string[];
}>;

/** `more`: so many bytes are needed at the least before there is more to tell. */
export type ClientHelloOutcome = Readonly<
  | { kind: 'hello'; hello: ClientHello }
  | { kind: 'more'; atLeast: number }
  | { kind: 'refused'; reason: string }
>;

/** RFC 8446 section 5.1. */
const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_RECORD = 22;
const MAX_RECORD_BYTES = 16_384;
/** RFC 8446 section 4. */
const MESSAGE_HEADER_BYTES = 4;
const CLIENT_HELLO = 1;
const RANDOM_BYTES = 32;
const MAX_SESSION_ID_BYTES = 32;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const APPLICATION_PROTOCOLS = 16;
/** Clients send 2 KiB with keys against quantum computers; no library makes more than a few of it. */
export const MAX_CLIENT_HELLO_BYTES = 16_384;
/** A message in more pieces is one that somebody cuts for the work that it makes. */
const MAX_RECORDS = 32;
/** RFC 1035 section 2.3.4, as text. */
const MAX_NAME_BYTES = 253;
/** Letters, digits, hyphens and what is written in their place; a name of another form is none of a server. */
const HOST = /^(?!.*\.\.)[a-z0-9_-][a-z0-9._-]*$/;

class Malformed extends Error {}

/**
 * Reads what stands at the beginning of a connection. Of hostile input no more is told than that it is refused.
 *
 * @param bytes everything that has come so far.
 */
export function readClientHello(bytes: Buffer): ClientHelloOutcome {
  try {
    const message = gatherMessage(bytes);
    if (typeof message === 'number') return { kind: 'more', atLeast: message };
    return { kind: 'hello', hello: parseHello(message) };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { kind: 'refused', reason: error.message };
  }
}

/** The body of the message, or how many bytes are needed at the least. */
function gatherMessage(bytes: Buffer): Buffer | number {
  const pieces: Buffer[] = [];
  let gathered = 0;
  let at = 0;
  for (let records = 0; records < MAX_RECORDS; records++) {
    if (bytes.length > at && bytes[at] !== HANDSHAKE_RECORD) throw new Malformed('it is no TLS');
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) throw new Malformed('it is no TLS');
    if (bytes.length < at + RECORD_HEADER_BYTES) return at + RECORD_HEADER_BYTES;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > MAX_RECORD_BYTES) throw new Malformed('a record of odd length');
    const start = at + RECORD_HEADER_BYTES;
    const piece = bytes.subarray(start, start + length);
    pieces.push(piece);
    gathered += piece.length;
    const wanted = messageBytes(pieces, gathered);
    if (wanted !== undefined && gathered >= wanted)
      return Buffer.concat(pieces, wanted).subarray(MESSAGE_HEADER_BYTES);
    if (piece.length < length) return start + length;
    at = start + length;
  }
  throw new Malformed(`its first message comes in more than ${MAX_RECORDS} records`);
}

/** With its header; `undefined` while that is not there. */
function messageBytes(pieces: readonly Buffer[], gathered: number): number | undefined {
  if (gathered === 0) return undefined;
  const header = Buffer.concat(pieces, Math.min(gathered, MESSAGE_HEADER_BYTES));
  if (header[0] !== CLIENT_HELLO) throw new Malformed('its first message is no ClientHello');
  if (header.length < MESSAGE_HEADER_BYTES) return undefined;
  const length = header.readUIntBE(1, 3) + MESSAGE_HEADER_BYTES;
  if (length > MAX_CLIENT_HELLO_BYTES) throw new Malformed('its ClientHello is too long');
  return length;
}

function parseHello(body: Buffer): ClientHello {
  const reader = new Reader(body);
  reader.take(2 + RANDOM_BYTES); // version, random
  if (reader.vector(1).length > MAX_SESSION_ID_BYTES) throw new Malformed('its session id is long');
  reader.vector(2); // cipher suites
  reader.vector(1); // compressions
  const found = { serverName: '', protocols: [] as readonly string[] };
  if (reader.isEmpty()) return found;
  const extensions = new Reader(reader.vector(2));
  if (!reader.isEmpty()) throw new Malformed('something stands behind its extensions');
  const seen = new Set<number>();
  while (!extensions.isEmpty()) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    // RFC 8446 section 4.2: twice the same, and two readers may see two names.
    if (seen.has(type)) throw new Malformed('it has an extension twice');
    seen.add(type);
    if (type === SERVER_NAME) found.serverName = parseServerName(data);
    else if (type === APPLICATION_PROTOCOLS) found.protocols = parseProtocols(data);
  }
  return found;
}

function parseServerName(data: Buffer): string {
  const outer = new Reader(data);
  const list = new Reader(outer.vector(2));
  const type = list.number(1);
  const name = list.vector(2).toString('latin1').toLowerCase();
  if (type !== HOST_NAME || !list.isEmpty() || !outer.isEmpty())
    throw new Malformed('it asks for other than one host');
  if (name.length > MAX_NAME_BYTES || !HOST.test(name) || name.endsWith('.'))
    throw new Malformed('the name that it asks for is none of a host');
  return name;
}

function parseProtocols(data: Buffer): readonly string[] {
  const outer = new Reader(data);
  const list = new Reader(outer.vector(2));
  const protocols: string[] = [];
  while (!list.isEmpty()) {
    const name = list.vector(1);
    if (name.length === 0) throw new Malformed('it offers a protocol without a name');
    protocols.push(name.toString('latin1'));
  }
  if (protocols.length === 0 || !outer.isEmpty()) throw new Malformed('it offers protocols oddly');
  return protocols;
}

/** Reads forward, and never beyond the end. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  isEmpty(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Malformed('it ends inside of a field');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  number(size: 1 | 2): number {
    return this.take(size).readUIntBE(0, size);
  }

  /** What follows its own length. */
  vector(lengthBytes: 1 | 2): Buffer {
    return this.take(this.number(lengthBytes));
  }
}
