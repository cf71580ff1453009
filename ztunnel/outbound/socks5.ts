import { ipFromBytes, tryParseIpAddress, type SocketAddress } from '../../base/address.ts';

/* RFC 1928, as far as it is served: no authentication, CONNECT. */

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const NO_ACCEPTABLE_METHOD = 0xff;
const CONNECT = 1;
const IPV4 = 1;
const HOSTNAME = 3;
const IPV6 = 4;
const PORT_BYTES = 2;
/** The longest part that is read at once: a host name and a port, or 255 methods. */
const MAX_PART_BYTES = 255 + PORT_BYTES;

/** RFC 1928 section 6. */
export const SOCKS5_REPLY = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
} as const;

export type Socks5ReplyCode = (typeof SOCKS5_REPLY)[keyof typeof SOCKS5_REPLY];

/** Where a client wants to go. */
export type Socks5Target = Readonly<
  | { kind: 'address'; address: SocketAddress }
  /** As it came, and maybe no host name. */
  | { kind: 'hostname'; hostname: string; port: number }
>;

/** What a part of the handshake leads to. */
export type Socks5Step = Readonly<
  | { kind: 'reply'; reply: Buffer }
  | { kind: 'connect'; target: Socks5Target }
  /** `reply` is empty for a client that speaks something else, and would not understand one. */
  | { kind: 'refuse'; reply: Buffer; reason: string }
>;

type Part = Readonly<{ bytes: number; read: (part: Buffer) => Part | Socks5Step }>;

/**
 * The server's side of a handshake. It takes no byte beyond it, whatever a hasty client sends behind.
 *
 * greeting -> methods -> (reply) -> request -> address and port -> connect; refuse from each of them.
 */
export class Socks5Handshake {
  readonly #part = Buffer.alloc(MAX_PART_BYTES);
  #filled = 0;
  #next: Part | undefined = GREETING;

  /** How many bytes come next; 0 when the handshake is over. */
  get needed(): number {
    return this.#next === undefined ? 0 : this.#next.bytes - this.#filled;
  }

  /** @param bytes at most `needed`. */
  take(bytes: Uint8Array): Socks5Step | undefined {
    const next = this.#next;
    if (next === undefined || bytes.length > this.needed)
      throw new Error('Cannot take more of a SOCKS5 handshake than was asked for');
    this.#part.set(bytes, this.#filled);
    this.#filled += bytes.length;
    if (this.#filled < next.bytes) return undefined;
    const result = next.read(this.#part.subarray(0, this.#filled));
    this.#filled = 0;
    if ('bytes' in result) {
      this.#next = result;
      return undefined;
    }
    this.#next = result.kind === 'reply' ? REQUEST : undefined;
    return result;
  }
}

/** The answer to a request. The address that was dialled from is not told: behind a tunnel it is another's. */
export function formatReply(code: Socks5ReplyCode): Buffer {
  return Buffer.from([VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]);
}

const GREETING: Part = {
  bytes: 2,
  read([version, methods = 0]) {
    if (version !== VERSION) return otherProtocol(version);
    return methods === 0 ? noMethod('no method') : { bytes: methods, read: readMethods };
  },
};

const REQUEST: Part = {
  bytes: 4,
  read([version, command, reserved, type]) {
    if (version !== VERSION) return otherProtocol(version);
    if (reserved !== 0)
      return refuse(SOCKS5_REPLY.generalFailure, `${reserved} in the reserved byte`);
    if (command !== CONNECT)
      return refuse(SOCKS5_REPLY.commandNotSupported, `command ${command}, only CONNECT is served`);
    switch (type) {
      case IPV4:
        return { bytes: 4 + PORT_BYTES, read: readAddress };
      case IPV6:
        return { bytes: 16 + PORT_BYTES, read: readAddress };
      case HOSTNAME:
        return HOSTNAME_LENGTH;
      default:
        return refuse(SOCKS5_REPLY.addressTypeNotSupported, `address type ${type}`);
    }
  },
};

const HOSTNAME_LENGTH: Part = {
  bytes: 1,
  read: ([length = 0]) =>
    length === 0
      ? refuse(SOCKS5_REPLY.generalFailure, 'an empty host name')
      : { bytes: length + PORT_BYTES, read: readHostname },
};

function readMethods(methods: Buffer): Socks5Step {
  if (!methods.includes(NO_AUTHENTICATION)) return noMethod('no method without authentication');
  return { kind: 'reply', reply: Buffer.from([VERSION, NO_AUTHENTICATION]) };
}

function readAddress(part: Buffer): Socks5Step {
  const port = readPort(part);
  if (port === undefined) return refuse(SOCKS5_REPLY.generalFailure, 'port 0');
  const ip = ipFromBytes(part.subarray(0, -PORT_BYTES));
  return { kind: 'connect', target: { kind: 'address', address: { ip, port } } };
}

function readHostname(part: Buffer): Socks5Step {
  const port = readPort(part);
  if (port === undefined) return refuse(SOCKS5_REPLY.generalFailure, 'port 0');
  const hostname = part.subarray(0, -PORT_BYTES).toString('latin1');
  // Clients that leave names to us may leave addresses to us in the same form.
  const ip = tryParseIpAddress(hostname);
  if (ip !== undefined)
    return { kind: 'connect', target: { kind: 'address', address: { ip, port } } };
  return { kind: 'connect', target: { kind: 'hostname', hostname, port } };
}

function readPort(part: Buffer): number | undefined {
  const port = part.readUInt16BE(part.length - PORT_BYTES);
  return port === 0 ? undefined : port;
}

function otherProtocol(version: number | undefined): Socks5Step {
  return { kind: 'refuse', reply: Buffer.alloc(0), reason: `version ${version}, not ${VERSION}` };
}

function noMethod(reason: string): Socks5Step {
  return { kind: 'refuse', reply: Buffer.from([VERSION, NO_ACCEPTABLE_METHOD]), reason };
}

function refuse(code: Socks5ReplyCode, reason: string): Socks5Step {
  return { kind: 'refuse', reply: formatReply(code), reason };
}
