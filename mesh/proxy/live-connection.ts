import type { SocketAddress } from '../../base/address.ts';
import { errorCode, type MeshError } from '../../base/errors.ts';
import { NOWHERE } from '../../base/roster.ts';
import { makeTraceparent, parseTraceparent, traceIdOf } from '../hbone/headers.ts';
import type { SpiffeId } from '../model/identity.ts';
import type { Service } from '../model/service.ts';
import type { WorkloadDescription } from '../model/workload.ts';
import {
  type ConnectionRecord,
  logConnectionEnd,
  logConnectionOpened,
  type Traced,
} from './access-log.ts';
import type { ConnectionMeter, ConnectionMetrics, Traffic } from './connection-metrics.ts';
import type { Connections, Live, LiveDescription } from './connections.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { Relay, type RelayEnd } from '../../net/relay.ts';
import { failureFlag } from './failure-flag.ts';
import type { Logger } from '../runtime/log.ts';

/** What is known of the two ends, for its record; filled in as a connection goes on. */
export type ConnectionEnds = {
  source: {
    address: SocketAddress;
    workload?: WorkloadDescription | undefined;
    identity?: SpiffeId | undefined;
  };
  destination: {
    address: SocketAddress;
    hboneTarget?: SocketAddress | string | undefined;
    workload?: WorkloadDescription | undefined;
    identity?: SpiffeId | undefined;
  };
  service?: Service | undefined;
  /** What the app dialled (outbound), or the service that was called (inbound), for the admin page. */
  originalDestination?: string | SocketAddress | undefined;
  tlsGroup?: string | undefined;
  /** Of the mTLS session, where revocation is checked. */
  peerChain?: readonly Buffer[] | undefined;
};

/** Where a connection is told of. */
export type LiveParts = Readonly<{
  connections: Connections;
  metrics: ConnectionMetrics;
  accessLog: Logger;
}>;

export type LiveConnectionOptions = Readonly<{
  parts: LiveParts;
  podUid: string;
  direction: 'inbound' | 'outbound';
  /** Who tells of it in metrics; absent: the side of `direction`. */
  reporter?: Traffic['reporter'];
  ends: ConnectionEnds;
  /** As the client's proxy sent it, whatever it is. */
  traceparent?: string | undefined;
  /** See Live.check(); a connection that is checked by nobody says it is permitted. */
  check?: () => string | undefined;
}>;

/** One connection from the moment it is known to its one record in log and metrics. */
export class LiveConnection implements Live, Traced {
  seat = NOWHERE;
  readonly podUid: string;
  readonly direction: 'inbound' | 'outbound';
  readonly ends: ConnectionEnds;
  readonly #parts: LiveParts;
  readonly #reporter: Traffic['reporter'];
  readonly #beganMs = performance.now();
  readonly #cut = new AbortController();
  #traceparent: string | undefined;
  #check: (() => string | undefined) | undefined;
  #meter: ConnectionMeter | undefined;
  #relay: Relay | undefined;
  #downstream: ByteStream | undefined;
  /** What went over the downstream before the relay, such as a SOCKS5 handshake: none of the payload. */
  #before = { read: 0, written: 0 };
  #over = false;
  #close: (() => void) | undefined;

  constructor(options: LiveConnectionOptions) {
    this.#parts = options.parts;
    this.podUid = options.podUid;
    this.direction = options.direction;
    this.#reporter =
      options.reporter ?? (options.direction === 'outbound' ? 'source' : 'destination');
    this.ends = options.ends;
    this.#check = options.check;
    this.#traceparent = parseTraceparent(options.traceparent);
    this.#parts.connections.add(this);
  }

  /** Aborts when the connection is cut before its relay has begun: by policy, its client, its deadline, its pod's end. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  /** What the other proxy of this connection is told, or has told us; made when it is first asked for. */
  get traceparent(): string {
    return (this.#traceparent ??= makeTraceparent());
  }

  get traceId(): string {
    return traceIdOf(this.traceparent);
  }

  get peerChain(): readonly Buffer[] | undefined {
    return this.ends.peerChain;
  }

  /** Both ends are there. */
  get isRelaying(): boolean {
    return this.#relay !== undefined || this.#close !== undefined;
  }

  setCheck(check: () => string | undefined): void {
    this.#check = check;
  }

  check(): string | undefined {
    return this.#check?.();
  }

  cut(error: MeshError): void {
    this.#cut.abort(error); // the first reason stays
    this.#relay?.cut(error);
    this.#close?.();
  }

  /**
   * Its bytes are read here, as requests that have records of their own: from here on it only counts as open, until done().
   *
   * @param close ends it at once; called when it is cut.
   */
  hold(close: () => void): void {
    this.#close = close;
    if (this.#cut.signal.aborted) close();
  }

  /** The end of a connection that was held. */
  done(): void {
    if (this.#over) return;
    this.#over = true;
    this.#parts.connections.remove(this);
  }

  /** Both ends are there: counts the connection as opened and moves bytes until it ends, then reports it. */
  relay(downstream: ByteStream, upstream: ByteStream): void {
    if (this.#cut.signal.aborted) {
      downstream.reset();
      upstream.reset();
      this.fail(this.#cut.signal.reason);
      return;
    }
    this.#meter = this.#parts.metrics.open(this.#traffic());
    logConnectionOpened(this.#parts.accessLog, this.#record());
    this.#downstream = downstream;
    this.#before = { read: downstream.bytesRead, written: downstream.bytesWritten };
    this.#relay = new Relay(downstream, upstream, (end) => {
      this.#ended(end);
    });
  }

  /** It failed before there was anything to relay. Of one that was cut, the reason for that counts. */
  fail(error: unknown): void {
    if (this.#over) return;
    const reason: unknown = this.#cut.signal.aborted ? this.#cut.signal.reason : error;
    this.#parts.metrics.fail(this.#traffic(), failureFlag(reason));
    this.#finish(reason);
  }

  updateMetrics(): void {
    const { read, written } = this.#payload();
    this.#meter?.update(read, written);
  }

  /** Bytes from and to the downstream so far. */
  #payload(): Readonly<{ read: number; written: number }> {
    const { bytesRead = 0, bytesWritten = 0 } = this.#downstream ?? {};
    const { read, written } = this.#before;
    return { read: bytesRead - read, written: bytesWritten - written };
  }

  describe(): LiveDescription {
    const { source, destination, originalDestination } = this.ends;
    return {
      source: source.address,
      originalDestination,
      actualDestination: destination.address,
      protocol: this.#mutualTls() ? 'HBONE' : 'TCP',
    };
  }

  #ended(end: RelayEnd): void {
    this.updateMetrics();
    // A reset by either end is an ordinary end of a connection; what we cut, or what broke on the way, is not.
    const error = end.kind === 'broken' && !isOrdinary(end) ? end.error : undefined;
    this.#meter?.close(error && failureFlag(error));
    this.#finish(error);
  }

  #finish(error: unknown): void {
    this.#over = true;
    this.#parts.connections.remove(this);
    logConnectionEnd(this.#parts.accessLog, this.#record(error));
  }

  #mutualTls(): boolean {
    return this.ends.tlsGroup !== undefined;
  }

  #traffic(): Traffic {
    const { source, destination, service } = this.ends;
    return {
      reporter: this.#reporter,
      source: source.workload,
      destination: destination.workload,
      service,
      sourceIdentity: source.identity,
      destinationIdentity: destination.identity,
      mutualTls: this.#mutualTls(),
    };
  }

  #record(error?: unknown): ConnectionRecord {
    const { source, destination, service, tlsGroup } = this.ends;
    const { read, written } = this.#payload();
    return {
      direction: this.direction,
      trace: this,
      source,
      destination: { ...destination, serviceHostname: service?.hostname },
      clientToServerBytes: read,
      serverToClientBytes: written,
      durationMs: performance.now() - this.#beganMs,
      tlsGroup,
      error,
    };
  }
}

const ORDINARY_CODES: ReadonlySet<string> = new Set(['ERR_STREAM_RESET', 'ERR_HTTP2_STREAM']);

function isOrdinary(end: Extract<RelayEnd, { kind: 'broken' }>): boolean {
  return end.by !== 'local' && ORDINARY_CODES.has(errorCode(end.error) ?? '');
}
