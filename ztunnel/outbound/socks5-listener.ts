import { abortable } from '../../base/abortable.ts';
import {
  familyOf,
  formatSocketAddress,
  tryParseIpAddress,
  type IpAddress,
  type SocketAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { TunnelRefusedError } from '../../mesh/hbone/client.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import { acceptOptions } from '../../mesh/proxy/accept-options.ts';
import { logConnectionRejected } from '../../mesh/proxy/access-log.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import type { PodNames } from '../dns.ts';
import { findLocalWorkload, unknownWorkload } from '../local-workload.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { carryOutbound } from './carry.ts';
import { formatReply, SOCKS5_REPLY, type Socks5ReplyCode, type Socks5Target } from './socks5.ts';
import { clientGone, endWithReply, readSocks5Request, sendReply } from './socks5-client.ts';

/** For a name and a workload that is not known yet; what comes then has a deadline of its own. */
const RESOLVE_TIMEOUT_MS = 10_000;
const UNSPECIFIED: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

/** Serves SOCKS5 to the pod itself: what its rules need not redirect, because the application asks for it. */
export function listenSocks5(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
): TcpListener {
  // Of the pod alone: what it learns from its resolvers, no other pod may be told.
  const names = parts.namesOf(pod);
  return new TcpListener(handed, acceptOptions(parts), (stream) => {
    void serveSocks5(stream, parts, pod, names);
  });
}

/**
 * One client, from its greeting to relay. It is told of success only when the other end is connected, and of a failure
 * by the code that comes nearest. Never rejects: every end goes into a record.
 */
async function serveSocks5(
  downstream: TcpStream,
  parts: DataParts,
  pod: PodContext,
  names: PodNames,
): Promise<void> {
  const { peer, local } = downstream;
  const reject = (error: unknown): void => {
    logConnectionRejected(parts.accessLog, {
      ...{ direction: 'outbound', sourceAddress: peer, destinationAddress: local, error },
    });
  };
  let target: Socks5Target;
  try {
    target = await readSocks5Request(downstream, pod.gone);
  } catch (error) {
    reject(error);
    return;
  }
  const onRefused = (error: unknown): void => {
    endWithReply(downstream, formatReply(replyCode(error)));
  };
  try {
    const source = await findLocalWorkload(parts, pod);
    if (source === undefined) throw unknownWorkload(pod);
    const destination = await resolveTarget(names, target, source, pod.gone);
    refuseOwnAddress(destination, source, parts);
    const onConnected = (): void => {
      if (!sendReply(downstream, formatReply(SOCKS5_REPLY.succeeded))) throw clientGone();
    };
    await carryOutbound(parts, pod, { downstream, source, destination, onConnected, onRefused });
  } catch (error) {
    onRefused(error);
    reject(error);
  }
}

/** A name gets the address that the pod's own client would dial first. @throws {MeshError} ERR_DNS_NAME and the like. */
async function resolveTarget(
  names: PodNames,
  target: Socks5Target,
  source: Workload,
  gone: AbortSignal,
): Promise<SocketAddress> {
  if (target.kind === 'address') return target.address;
  const { hostname, port } = target;
  const patience = AbortSignal.any([AbortSignal.timeout(RESOLVE_TIMEOUT_MS), gone]);
  const found = await abortable(names.resolve(hostname), patience);
  const ips = found.flatMap((text) => tryParseIpAddress(text) ?? []);
  const ip = ips.find((each) => hasFamilyOf(source, each)) ?? ips[0];
  if (ip !== undefined) return { ip, port };
  throw new MeshError('ERR_DNS_UPSTREAM', 'upstream', `Cannot resolve ${hostname}: no address`);
}

function hasFamilyOf({ addresses }: Workload, ip: IpAddress): boolean {
  return addresses.some((own) => familyOf(own) === familyOf(ip));
}

/** An address that stands for this machine would lead back here in other words than those that routing knows. */
function refuseOwnAddress(
  destination: SocketAddress,
  { addresses }: Workload,
  { ownPorts }: DataParts,
): void {
  const { ip, port } = destination;
  const own = addresses.includes(ip) && ownPorts.has(port);
  if (!own && !UNSPECIFIED.has(ip)) return;
  const where = formatSocketAddress(destination);
  throw new MeshError('ERR_OWN_PORT', 'downstream', `Cannot connect to ${where}: never proxied to`);
}

/** RFC 1928 section 6 has few words; what none of them means is a general failure. */
function replyCode(error: unknown): Socks5ReplyCode {
  if (error instanceof TunnelRefusedError) return TUNNEL_CODES.get(error.status) ?? GENERAL;
  if (!(error instanceof MeshError)) return GENERAL;
  const errno = error.code === 'ERR_CONNECT' ? /: (E[A-Z]+)$/.exec(error.message)?.[1] : undefined;
  return CODES.get(errno ?? error.code) ?? GENERAL;
}

const GENERAL = SOCKS5_REPLY.generalFailure;
/** 503: the other proxy does not reach its application. */
const TUNNEL_CODES: ReadonlyMap<number, Socks5ReplyCode> = new Map([
  [401, SOCKS5_REPLY.notAllowed],
  [503, SOCKS5_REPLY.connectionRefused],
]);
const CODES: ReadonlyMap<string, Socks5ReplyCode> = new Map([
  ['ERR_OWN_PORT', SOCKS5_REPLY.notAllowed],
  ['ERR_POLICY', SOCKS5_REPLY.notAllowed],
  ['ERR_TUNNEL_TIMEOUT', SOCKS5_REPLY.hostUnreachable],
  ['ERR_NETWORK_POLICY', SOCKS5_REPLY.hostUnreachable],
  ['ERR_CONNECT_TIMEOUT', SOCKS5_REPLY.hostUnreachable],
  ['ERR_NO_HEALTHY_UPSTREAM', SOCKS5_REPLY.hostUnreachable],
  ['ERR_WAYPOINT_UNAVAILABLE', SOCKS5_REPLY.hostUnreachable],
  ['ERR_NETWORK_GATEWAY', SOCKS5_REPLY.hostUnreachable],
  ['ERR_DNS_NAME', SOCKS5_REPLY.hostUnreachable],
  ['ERR_DNS_UPSTREAM', SOCKS5_REPLY.hostUnreachable],
  ['ETIMEDOUT', SOCKS5_REPLY.hostUnreachable],
  ['EHOSTUNREACH', SOCKS5_REPLY.hostUnreachable],
  ['ENETUNREACH', SOCKS5_REPLY.networkUnreachable],
  ['ECONNREFUSED', SOCKS5_REPLY.connectionRefused],
]);
