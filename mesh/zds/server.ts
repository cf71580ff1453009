import { closeSync } from 'node:fs';
import { describeError } from '../../base/errors.ts';
import type { Netns } from '../../net/netns.ts';
import { listenSeqpacket, type SeqpacketListener, type SeqpacketSocket } from '../../net/unix.ts';
import {
  decodeAck,
  decodeHello,
  encodeRequest,
  zdsError,
  type ZdsPodInfo,
  type ZdsRequest,
} from './messages.ts';

/** As istio-cni's read deadline for an ack. */
const ACK_TIMEOUT_MS = 5000;
/** A proxy and the one that replaces it, and what is left of earlier ones; more is no proxy of this node. */
const MAX_CONNECTIONS = 16;
/** One request is in flight; behind it wait at most this many before the peer is taken for dead. */
const MAX_QUEUED = 100_000;

/** A pod of this node, as the agent hands it over. Without namespace the proxy keeps what it already has. */
export type ZdsPod = Readonly<{ uid: string; info: ZdsPodInfo; netns?: Netns }>;

/** no-proxy: nobody is connected; timeout: no ack within ACK_TIMEOUT_MS; refused: with the proxy's own words. */
export type ZdsOutcome = Readonly<
  | { kind: 'acked' }
  | { kind: 'no-proxy' }
  | { kind: 'timeout' }
  | { kind: 'refused'; error: string }
>;

export type ZdsServerOptions = Readonly<{
  path: string;
  /** Every pod that is enrolled, for a proxy that connects, as soon as that is known; what is not named it drops. */
  snapshot(): readonly ZdsPod[] | Promise<readonly ZdsPod[]>;
  /** A proxy has all pods now; `failures` names those that it refused. */
  onSnapshotSent?(failures: readonly Readonly<{ uid: string; error: string }>[]): void;
  onDisconnect?(): void;
  log(message: string): void;
}>;

/**
 * The node agent's end of ZDS: proxies connect, are given every pod, and then each change.
 *
 * Life of a connection: hello -> (add | keep, each acked)* -> snapshot sent, acked -> (add | del, each acked)*
 */
export class ZdsServer {
  readonly #options: ZdsServerOptions;
  readonly #listener: SeqpacketListener;
  /** The oldest first; adds go to the last one that said hello. */
  readonly #connections = new Set<ProxyConnection>();

  /** @throws {MeshError} where the path cannot be listened on. */
  constructor(options: ZdsServerOptions) {
    this.#options = options;
    this.#listener = listenSeqpacket({
      path: options.path,
      mode: 0o600,
      onConnection: (socket) => {
        this.#accept(socket);
      },
    });
  }

  /** Whether a proxy is connected and has every pod. */
  get connected(): boolean {
    return [...this.#connections].some((connection) => connection.complete);
  }

  /** Hands a pod to the newest proxy; resolves with its answer. */
  async add(pod: ZdsPod): Promise<ZdsOutcome> {
    const newest = [...this.#connections].filter((connection) => connection.greeted).at(-1);
    return newest === undefined ? { kind: 'no-proxy' } : newest.sendPod(pod);
  }

  /** Takes a pod from every proxy; resolves when all have answered or had their time. */
  async remove(uid: string): Promise<void> {
    const connections = [...this.#connections].filter((connection) => connection.greeted);
    await Promise.all(connections.map((connection) => connection.send({ kind: 'del', uid })));
  }

  close(): void {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
  }

  #accept(socket: SeqpacketSocket): void {
    const { uid } = socket.peerCredentials;
    // The folder lets nobody else in; this holds where someone has opened it.
    if (uid !== process.geteuid?.()) {
      this.#options.log(`refused a connection of user ${uid}: the proxy runs as this agent's user`);
      socket.close();
      return;
    }
    if (this.#connections.size >= MAX_CONNECTIONS) {
      this.#options.log(`refused a connection: ${MAX_CONNECTIONS} are open already`);
      socket.close();
      return;
    }
    const connection = new ProxyConnection(socket, {
      onHello: () => void this.#sendSnapshot(connection),
      onClose: (reason) => {
        this.#connections.delete(connection);
        this.#options.log(`the proxy has disconnected${reason}`);
        this.#options.onDisconnect?.();
      },
    });
    this.#connections.add(connection);
  }

  async #sendSnapshot(connection: ProxyConnection): Promise<void> {
    // The newest to say hello is the newest to get adds, also when it connected earlier.
    this.#connections.delete(connection);
    this.#connections.add(connection);
    const failures: { uid: string; error: string }[] = [];
    const pods = await this.#options.snapshot();
    const outcomes = pods.map(async (pod) => {
      const outcome = await connection.sendPod(pod);
      if (outcome.kind === 'acked' || outcome.kind === 'no-proxy') return;
      const error = outcome.kind === 'refused' ? outcome.error : 'no answer in time';
      failures.push({ uid: pod.uid, error });
      this.#options.log(`the proxy did not take pod ${pod.uid}: ${error}`);
    });
    // Queued behind the pods at once, so that an add that comes meanwhile stands behind it.
    const sent = await connection.send({ kind: 'snapshot-sent' });
    await Promise.all(outcomes);
    if (sent.kind === 'no-proxy') return;
    connection.complete = true;
    this.#options.log(`the proxy has all ${pods.length} pods`);
    this.#options.onSnapshotSent?.(failures);
  }
}

type ConnectionEvents = Readonly<{ onHello(): void; onClose(reason: string): void }>;

type Queued = {
  readonly bytes: Uint8Array;
  readonly netns: Netns | undefined;
  readonly resolve: (outcome: ZdsOutcome) => void;
};

/** One proxy: requests in order, one in flight, each with its ack. */
class ProxyConnection {
  readonly #socket: SeqpacketSocket;
  readonly #events: ConnectionEvents;
  readonly #queue: Queued[] = [];
  /** Sent and not acked: the first is the one in flight, unless its time is over. */
  readonly #unacked: Queued[] = [];
  #timer: NodeJS.Timeout | undefined;
  #open = true;
  greeted = false;
  complete = false;

  constructor(socket: SeqpacketSocket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    // A connection that never says hello is not the proxy.
    this.#timer = setTimeout(() => {
      this.#end(': it said no hello');
    }, ACK_TIMEOUT_MS);
    socket.setHandler({
      onMessage: (bytes, descriptors) => {
        for (const fd of descriptors) closeSync(fd); // a proxy sends none
        this.#receive(bytes);
      },
      onClose: (error) => {
        this.#end(error === undefined ? '' : `: ${describeError(error)}`);
      },
    });
  }

  sendPod(pod: ZdsPod): Promise<ZdsOutcome> {
    const { uid, info, netns } = pod;
    return netns === undefined
      ? this.send({ kind: 'keep', uid })
      : this.send({ kind: 'add', uid, info }, netns);
  }

  send(request: ZdsRequest, netns?: Netns): Promise<ZdsOutcome> {
    if (!this.#open || this.#queue.length >= MAX_QUEUED)
      return Promise.resolve({ kind: 'no-proxy' });
    let bytes: Uint8Array;
    try {
      bytes = encodeRequest(request);
    } catch (error) {
      return Promise.resolve({ kind: 'refused', error: describeError(error) });
    }
    return new Promise((resolve) => {
      this.#queue.push({ bytes, netns, resolve });
      if (this.#timer === undefined) this.#sendNext();
    });
  }

  close(): void {
    this.#end('');
  }

  #receive(bytes: Buffer): void {
    try {
      if (!this.greeted) {
        decodeHello(bytes);
        this.greeted = true;
        this.#stopTimer();
        this.#events.onHello();
        return;
      }
      const error = decodeAck(bytes);
      const answered = this.#unacked.shift();
      if (answered === undefined) throw zdsError('Cannot match an ack: nothing was asked');
      answered.resolve(error === '' ? { kind: 'acked' } : { kind: 'refused', error });
      // A late ack belongs to a request whose time was over; the one in flight still waits.
      if (this.#unacked.length > 0) return;
      this.#stopTimer();
      this.#sendNext();
    } catch (error) {
      this.#end(`: ${describeError(error)}`);
    }
  }

  #sendNext(): void {
    const next = this.#queue.shift();
    if (next === undefined) return;
    try {
      this.#socket.send(next.bytes, next.netns?.fd);
    } catch (error) {
      next.resolve({ kind: 'no-proxy' });
      this.#end(`: ${describeError(error)}`);
      return;
    }
    this.#unacked.push(next);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      next.resolve({ kind: 'timeout' });
      // It stays in the list, so that its ack, should it come, is not taken for another's.
      this.#sendNext();
    }, ACK_TIMEOUT_MS);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #end(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.complete = false;
    this.#stopTimer();
    this.#socket.close();
    for (const waiting of [...this.#unacked, ...this.#queue]) waiting.resolve({ kind: 'no-proxy' });
    this.#unacked.length = 0;
    this.#queue.length = 0;
    this.#events.onClose(reason);
  }
}
