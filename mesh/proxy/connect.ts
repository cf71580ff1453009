import { abortable } from '../../base/abortable.ts';
import { formatSocketAddress, type IpAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { Http2StreamError } from '../../net/h2/errors.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import type { TcpConnectOptions } from '../../net/tcp.ts';
import type { TlsContext } from '../../net/tls-context.ts';
import { formatAuthority, type Authority } from '../hbone/authority.ts';
import { mayTryElsewhere, openTunnel, type Tunnel } from '../hbone/client.ts';
import { openHedged, type OpenAttempt } from '../hbone/hedge.ts';
import { makeBaggage, makeForwarded } from '../hbone/headers.ts';
import type { SessionPool } from '../hbone/pool.ts';
import { HboneSession, type SessionOptions } from '../hbone/session.ts';
import type { SpiffeId } from '../model/identity.ts';
import { HBONE_PORT } from '../model/ports.ts';
import type { Service } from '../model/service.ts';
import type { Workload, WorkloadUid } from '../model/workload.ts';
import type { LiveConnection } from './live-connection.ts';
import type { TlsContexts } from './tls-contexts.ts';

/** Design limits of trying: so many endpoints, and so long, before any byte is sent. */
const MAX_ENDPOINTS = 3;
const CONNECT_DEADLINE_MS = 10_000;
/** A third of it, which the second repetition of a lost SYN (after 3 s) still meets: a silent endpoint leaves time for others. */
const ENDPOINT_DEADLINE_MS = 3_300;
/** Where there is no other one; less than the whole, so that this reason is told. */
const ONLY_ENDPOINT_DEADLINE_MS = 9_500;
/** Sessions of the pool that turn out to have ended, before this is taken for a fault of the endpoint. */
const MAX_STALE_SESSIONS = 8;

/** What the upstream connections of a thread share. */
export type ConnectParts = Readonly<{
  pool: SessionPool;
  contexts: TlsContexts;
  clientHttp2: Http2Options;
  /** Absent: revocation is not checked. */
  revocation?: Readonly<{
    check: (chain: readonly Buffer[], side: 'downstream' | 'upstream') => MeshError | undefined;
  }>;
}>;

/** In whose name sessions are opened. */
export type Caller = Readonly<{
  podUid: string;
  /** The address that sessions belong to. */
  ip: IpAddress;
  identity: SpiffeId;
  /** Aborts when the caller is gone for good. */
  gone: AbortSignal;
  /** How its sockets are made. */
  tcpOptions: (signal: AbortSignal) => TcpConnectOptions;
}>;

/** The next hop of a tunnel. */
export type TunnelHop = Readonly<{
  connectTo: SocketAddress;
  authority: Authority;
  /** The identities that are accepted of it. */
  peers: readonly SpiffeId[];
}>;

/** One way to try, or why there is none. */
export type Attempt = Readonly<
  | {
      kind: 'connect';
      /** The workload that is dialled; absent: no other way is tried after this one. */
      workload?: Workload;
      connect: () => Promise<ByteStream>;
    }
  /** `note` is called where this is what is told of the connection. */
  | { kind: 'reject'; error: MeshError; note: () => void }
>;

/**
 * Connects to the first endpoint that answers: `next` is asked again with what was tried until one does. Nothing of the
 * payload is sent before. The attempts of one connection have 10 s together.
 *
 * @param destination what the client asked for.
 * @throws {MeshError} of the last endpoint; what `next` rejects with; why `live` was cut.
 */
export async function connectFirst(
  live: LiveConnection,
  destination: SocketAddress | string,
  next: (tried: ReadonlySet<WorkloadUid>) => Attempt | Promise<Attempt>,
): Promise<ByteStream> {
  const deadline = setTimeout(() => {
    live.cut(tooLate(destination));
  }, CONNECT_DEADLINE_MS);
  try {
    return await tryEndpoints(live, next);
  } finally {
    clearTimeout(deadline);
  }
}

async function tryEndpoints(
  live: LiveConnection,
  next: Parameters<typeof connectFirst>[2],
): Promise<ByteStream> {
  const tried = new Set<WorkloadUid>();
  let failure: Error | undefined;
  for (;;) {
    live.signal.throwIfAborted();
    const attempt = await next(tried);
    if (attempt.kind === 'reject') {
      // The last failure says more than that no endpoint is left, and so does what is noted of it.
      if (failure !== undefined) throw failure;
      attempt.note();
      throw attempt.error;
    }
    const { workload, connect } = attempt;
    try {
      return await connect();
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
      if (workload === undefined || !mayTryElsewhere(error)) throw error;
      tried.add(workload.uid);
      if (tried.size === MAX_ENDPOINTS) throw error;
    }
  }
}

/**
 * Opens a tunnel on a session of the pool, or on a new one.
 *
 * @param request `timeoutMs` is for a session that has to be opened first; `onSession` is told each one that is used.
 * @throws {MeshError} as openTunnel() and HboneSession.open(); ERR_NETWORK_POLICY when the peer's port is silent;
 *   ERR_CERTIFICATE_UNAVAILABLE.
 */
export async function connectTunnel(
  parts: ConnectParts,
  caller: Caller,
  hop: TunnelHop,
  request: Readonly<{
    headers: HeaderList;
    timeoutMs: number;
    signal: AbortSignal;
    onSession: (session: HboneSession) => void;
  }>,
): Promise<Tunnel> {
  const { connectTo, peers } = hop;
  const { podUid, ip: sourceIp, identity, gone } = caller;
  const { headers, signal, onSession } = request;
  // Also where a session is open: without a valid certificate nothing new is begun.
  await currentContext(parts, identity, signal);
  const key = { podUid, sourceIp, identity, peers, connectTo };
  const attempt: OpenAttempt = (limits) => {
    const tcp = { ...caller.tcpOptions(limits.signal), timeoutMs: limits.timeoutMs };
    const context = (): Promise<TlsContext> => parts.contexts.get(identity);
    const options = { context, peers, http2: parts.clientHttp2, ...checkChainOf(parts), ...limits };
    return HboneSession.open(connectTo, tcp, options);
  };
  // It serves all who wait for it, so it ends with the caller, not with this connection.
  const open = async (): Promise<HboneSession> => {
    try {
      return await openHedged(attempt, { timeoutMs: request.timeoutMs, signal: gone });
    } catch (error) {
      throw isTimeoutOfHbone(error, connectTo) ? blockedPort(connectTo, error) : error;
    }
  };
  const asked = { authority: formatAuthority(hop.authority), headers };
  let stale = 0;
  let pooled: HboneSession | undefined;
  const begin = (session: HboneSession, fresh: boolean): Promise<Tunnel> => {
    pooled = fresh ? undefined : session;
    onSession(session);
    return openTunnel(session, asked, { signal });
  };
  for (;;) {
    try {
      return await parts.pool.withSession(key, open, begin, signal);
    } catch (error) {
      // A pooled session may have ended just before it was used: that says nothing about the endpoint.
      const again = pooled?.retired === true && hasNoAnswer(error) && ++stale <= MAX_STALE_SESSIONS;
      if (!again || signal.aborted) throw error;
    }
  }
}

export function checkChainOf({ revocation }: ConnectParts): Pick<SessionOptions, 'checkChain'> {
  if (revocation === undefined) return {};
  return { checkChain: (chain) => revocation.check(chain, 'upstream') };
}

/** The context in use, or the wait for the first one. */
export async function currentContext(
  { contexts }: Pick<ConnectParts, 'contexts'>,
  identity: SpiffeId,
  signal: AbortSignal,
): Promise<TlsContext> {
  return contexts.current(identity) ?? (await abortable(contexts.get(identity), signal));
}

/** What a tunnel tells the next hop of the connection in it. */
export function tunnelHeaders(
  source: Readonly<{ workload: Workload; address: SocketAddress }>,
  live: Pick<LiveConnection, 'traceparent'>,
  hostname: string | undefined,
): HeaderList {
  return [
    ...['baggage', makeBaggage(source.workload)],
    ...['forwarded', makeForwarded(source.address, hostname)],
    ...['traceparent', live.traceparent],
  ];
}

/** How long one endpoint may take to be connected to. */
export function endpointDeadlineMs(route: Readonly<{ service?: Service }>): number {
  return route.service === undefined ? ONLY_ENDPOINT_DEADLINE_MS : ENDPOINT_DEADLINE_MS;
}

/** The session broke before the peer's proxy said anything. */
function hasNoAnswer(error: unknown): boolean {
  return error instanceof Http2StreamError || hasCode(error, 'ERR_TUNNEL_NO_ROOM');
}

function isTimeoutOfHbone(error: unknown, connectTo: SocketAddress): boolean {
  return hasCode(error, 'ERR_CONNECT_TIMEOUT') && connectTo.port === HBONE_PORT;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof MeshError && error.code === code;
}

function blockedPort(connectTo: SocketAddress, cause: unknown): MeshError {
  const message = `Cannot connect to ${formatSocketAddress(connectTo)}: timed out, maybe a NetworkPolicy is blocking HBONE port ${HBONE_PORT}`;
  return new MeshError('ERR_NETWORK_POLICY', 'upstream', message, { cause });
}

function tooLate(destination: SocketAddress | string): MeshError {
  const where = typeof destination === 'string' ? destination : formatSocketAddress(destination);
  const message = `Cannot connect to ${where}: not done within ${CONNECT_DEADLINE_MS} ms`;
  return new MeshError('ERR_CONNECT_TIMEOUT', 'upstream', message);
}
