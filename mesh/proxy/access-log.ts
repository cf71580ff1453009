import type { SocketAddress } from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import type { SpiffeId } from '../model/identity.ts';
import type { WorkloadDescription } from '../model/workload.ts';
import type { LogFields, LogSpan } from '../runtime/log-line.ts';
import type { Logger } from '../runtime/log.ts';

export type Direction = 'inbound' | 'outbound';

/** What both proxies of a connection call it by. Asked for only when it is written: it may have to be made first. */
export type Traced = Readonly<{ traceId: string }>;

/** What is known of one connection by its end; what is not known is left out. */
export type ConnectionRecord = Readonly<{
  /** Seen from the local workload. */
  direction: Direction;
  trace: Traced;
  source: Readonly<{
    address: SocketAddress;
    workload?: WorkloadDescription | undefined;
    identity?: SpiffeId | undefined;
  }>;
  destination: Readonly<{
    /** Where the TCP connection goes: port 15008 with HBONE. */
    address: SocketAddress;
    /** What the tunnel was asked for: an address, or a name and port. */
    hboneTarget?: SocketAddress | string | undefined;
    /** The host name of the service that was called. */
    serviceHostname?: string | undefined;
    workload?: WorkloadDescription | undefined;
    identity?: SpiffeId | undefined;
  }>;
  clientToServerBytes: number;
  serverToClientBytes: number;
  durationMs: number;
  /** The key exchange group of the mTLS session. Only with mTLS are identities known, and logged. */
  tlsGroup?: string | undefined;
  /** Why it ended, unless it ended well. */
  error?: unknown;
}>;

/** Writes the one record that a connection leaves, at its end. */
export function logConnectionEnd(logger: Logger, record: ConnectionRecord): void {
  const level = record.error === undefined ? 'info' : 'error';
  if (!logger.isEnabled(level)) return;
  const { direction, clientToServerBytes, serverToClientBytes } = record;
  // Bytes are seen from the local app: a client sends what goes to the server, a server what comes from it.
  const outbound = direction === 'outbound';
  const fields = {
    ...connectionFields(record),
    bytes_sent: outbound ? clientToServerBytes : serverToClientBytes,
    bytes_recv: outbound ? serverToClientBytes : clientToServerBytes,
    duration: `${Math.round(record.durationMs)}ms`,
    error: record.error === undefined ? undefined : describeError(record.error),
    'tls.group': record.tlsGroup,
  };
  logger.log(level, 'connection complete', fields, connectionSpan(direction, record.trace));
}

/** Tells of a connection that has just been set up. */
export function logConnectionOpened(
  logger: Logger,
  record: Pick<ConnectionRecord, 'direction' | 'trace' | 'source' | 'destination'>,
): void {
  if (!logger.isEnabled('debug')) return;
  const span = connectionSpan(record.direction, record.trace);
  logger.log('debug', 'connection opened', connectionFields(record), span);
}

/** Under what a record of a connection is written, here and in other scopes. */
export function connectionSpan(direction: Direction, { traceId }: Traced): LogSpan {
  return { name: direction, id: traceId };
}

/** Tells of a connection that was refused before anything was known about its ends. */
export function logConnectionRejected(
  logger: Logger,
  rejected: Readonly<{
    direction: Direction;
    sourceAddress: SocketAddress;
    destinationAddress: SocketAddress;
    error: unknown;
  }>,
): void {
  if (!logger.isEnabled('warn')) return;
  logger.warn('connection failed', {
    'src.addr': rejected.sourceAddress,
    'dst.addr': rejected.destinationAddress,
    direction: rejected.direction,
    error: describeError(rejected.error),
  });
}

/** What a peer has not said of its workload is '', and no more known than a workload that is not there. */
function known(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

/** The names and their order are those of istio/ztunnel, which log pipelines parse. */
function connectionFields(
  record: Pick<ConnectionRecord, 'direction' | 'source' | 'destination'>,
): LogFields {
  const { source, destination, direction } = record;
  return {
    'src.addr': source.address,
    'src.workload': known(source.workload?.name),
    'src.namespace': known(source.workload?.namespace),
    'src.identity': source.identity,
    'src.cluster': known(source.workload?.clusterId),
    'dst.addr': destination.address,
    'dst.hbone_addr': destination.hboneTarget,
    'dst.service': destination.serviceHostname,
    'dst.workload': known(destination.workload?.name),
    'dst.namespace': known(destination.workload?.namespace),
    'dst.identity': destination.identity,
    'dst.cluster': known(destination.workload?.clusterId),
    direction,
  };
}
