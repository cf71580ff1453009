import { AF_INET } from '../native/libc.ts';
import { NETLINK_SOCK_DIAG, NetlinkConnection, NLM_F_ACK, NLM_F_DUMP } from './connection.ts';

/** linux/sock_diag.h, linux/inet_diag.h. */
const TCPDIAG_GETSOCK = 18;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
const ID_BYTES = 48;
/** struct inet_diag_req: the identity of one socket, which a list has none of, then the states. */
const LIST_STATES_OFFSET = 4 + ID_BYTES;
const LIST_BYTES = LIST_STATES_OFFSET + 8;
/** struct inet_diag_msg, and inet_diag_req_v2: what comes before the socket's identity. */
const ANSWER_ID_OFFSET = 4;
const DESTROY_ID_OFFSET = 8;
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
export const LISTENING = 1 << TCP_LISTEN;
export const CONNECTED = 0xffff & ~((1 << TCP_TIME_WAIT) | (1 << TCP_CLOSE) | LISTENING);

export type TcpSocket = Readonly<{
  /** Its family, addresses and the kernel's cookie: never another's, whatever addresses are used again. */
  key: string;
  localPort: number;
  /** Whether its other end is in the same namespace. */
  isToLoopback: boolean;
}>;

/**
 * The TCP sockets of the namespace that the thread is in, of both families. Those that listen are found at once. For others
 * the kernel looks at the sockets of all namespaces, also at those that are over and wait out their time: 80 ms after a
 * benchmark of new connections. So both families are asked for at once, which the older form of the question does.
 *
 * @param states those that are asked for: ESTABLISHED, CONNECTED or LISTENING.
 * @throws {MeshError} the kernel's error.
 */
export function listTcpSockets(states: number): TcpSocket[] {
  using kernel = new NetlinkConnection(NETLINK_SOCK_DIAG);
  const body = Buffer.alloc(LIST_BYTES);
  body.writeUInt32LE(states, LIST_STATES_OFFSET);
  return kernel
    .request(TCPDIAG_GETSOCK, NLM_F_DUMP, body, 'list TCP sockets, by tcp_diag')
    .map(readSocket);
}

/**
 * Ends connections of that namespace with a reset to both of their ends. Those that have ended already are passed over, and
 * so are all where the kernel cannot end them.
 *
 * @param keys of sockets that were listed there.
 */
export function destroyTcpSockets(keys: Iterable<string>): void {
  using kernel = new NetlinkConnection(NETLINK_SOCK_DIAG);
  for (const key of keys)
    try {
      kernel.request(SOCK_DESTROY, NLM_F_ACK, destroyMessage(key), 'end a TCP connection');
    } catch {
      // One less, or one that its owner has to end.
    }
}

function destroyMessage(key: string): Buffer {
  const [family = 0, ...id] = Buffer.from(key, 'latin1');
  const body = Buffer.alloc(DESTROY_ID_OFFSET + ID_BYTES);
  body[0] = family;
  body[1] = IPPROTO_TCP;
  body.writeUInt32LE(CONNECTED, 4);
  body.set(id, DESTROY_ID_OFFSET);
  return body;
}

function readSocket(message: Buffer): TcpSocket {
  const family = message[0] ?? 0;
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
