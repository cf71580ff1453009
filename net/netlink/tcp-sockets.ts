import { AF_INET, AF_INET6 } from '../native/libc.ts';
import { NETLINK_SOCK_DIAG, NetlinkConnection, NLM_F_ACK, NLM_F_DUMP } from './connection.ts';

/** linux/sock_diag.h, linux/inet_diag.h. */
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
/** struct inet_diag_req_v2 and inet_diag_msg: what comes before the socket's identity, and that itself. */
const REQUEST_ID_OFFSET = 8;
const ANSWER_ID_OFFSET = 4;
const ID_BYTES = 48;
/** In the identity: ports in network order, then both addresses in 16 bytes each. */
const LOCAL_PORT_OFFSET = 0;
const REMOTE_ADDRESS_OFFSET = 20;

/** The kernel's numbers of states. net/tcp_states.h. */
const TCP_ESTABLISHED = 1;
const TCP_TIME_WAIT = 6;
const TCP_CLOSE = 7;
const TCP_LISTEN = 10;
/** Sets of states, a bit each. */
export const ESTABLISHED = 1 << TCP_ESTABLISHED;
export const IN_USE = 0xffff & ~((1 << TCP_TIME_WAIT) | (1 << TCP_CLOSE));
export const CONNECTED = IN_USE & ~(1 << TCP_LISTEN);

export type TcpSocket = Readonly<{
  /** Its family, addresses and the kernel's cookie: never another's, whatever addresses are used again. */
  key: string;
  localPort: number;
  /** Whether its other end is in the same namespace. */
  isToLoopback: boolean;
}>;

/**
 * The TCP sockets of the namespace that the thread is in.
 *
 * @param states those that are asked for: ESTABLISHED, CONNECTED or IN_USE.
 * @throws {MeshError} the kernel's error.
 */
export function listTcpSockets(states: number): TcpSocket[] {
  using kernel = new NetlinkConnection(NETLINK_SOCK_DIAG);
  return [AF_INET, AF_INET6].flatMap((family) =>
    kernel
      .request(
        SOCK_DIAG_BY_FAMILY,
        NLM_F_DUMP,
        request(family, states),
        'list TCP sockets, by tcp_diag',
      )
      .map((message) => readSocket(family, message)),
  );
}

/**
 * Ends a connection with a reset to both of its ends.
 *
 * @throws {MeshError} ERR_SYSTEM_ENOENT when it has ended already, ERR_SYSTEM_EOPNOTSUPP where the kernel cannot.
 */
export function destroyTcpSocket({ key }: Pick<TcpSocket, 'key'>): void {
  using kernel = new NetlinkConnection(NETLINK_SOCK_DIAG);
  const bytes = Buffer.from(key, 'latin1');
  const id = bytes.subarray(1);
  const body = request(bytes[0] ?? 0, CONNECTED, id);
  kernel.request(SOCK_DESTROY, NLM_F_ACK, body, 'end a TCP connection');
}

function request(family: number, states: number, id?: Buffer): Buffer {
  const body = Buffer.alloc(REQUEST_ID_OFFSET + ID_BYTES);
  body[0] = family;
  body[1] = IPPROTO_TCP;
  body.writeUInt32LE(states, 4);
  if (id !== undefined) body.set(id, REQUEST_ID_OFFSET);
  return body;
}

function readSocket(family: number, message: Buffer): TcpSocket {
  const id = message.subarray(ANSWER_ID_OFFSET, ANSWER_ID_OFFSET + ID_BYTES);
  const remote = id.subarray(REMOTE_ADDRESS_OFFSET, REMOTE_ADDRESS_OFFSET + 16);
  return {
    key: String.fromCharCode(family) + id.toString('latin1'),
    localPort: id.readUInt16BE(LOCAL_PORT_OFFSET),
    isToLoopback: family === AF_INET ? remote[0] === 127 : isLoopback6(remote),
  };
}

/** `::1`, or 127.0.0.0/8 as an IPv6 socket has it. */
function isLoopback6(address: Buffer): boolean {
  if (address.subarray(0, 10).some((byte) => byte !== 0)) return false;
  if (address.readUInt16BE(10) === 0xffff) return address[12] === 127;
  return address.readUInt16BE(10) === 0 && address.readUInt32BE(12) === 1;
}
