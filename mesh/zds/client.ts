import { closeSync } from 'node:fs';
import { describeError, MeshError } from '../../base/errors.ts';
import { adoptNetns, openNetns, type Netns } from '../../net/netns.ts';
import { connectSeqpacket, type SeqpacketSocket } from '../../net/unix.ts';
import {
  decodeRequest,
  encodeAck,
  encodeHello,
  zdsError,
  type ZdsPodInfo,
  type ZdsRequest,
} from './messages.ts';

/** As istio/ztunnel's back-off for its agent: 10 ms, doubling to 15 s. */
const FIRST_RECONNECT_MS = 10;
const LONGEST_RECONNECT_MS = 15_000;
/** As istio/ztunnel retries a pod whose proxy did not start. */
const RETRY_PENDING_MS = 5000;

/** What the proxy does about its pods. Calls come one after another. */
export type ZdsHandler = Readonly<{
  /**
   * A pod is to be served from now on; resolves when its sockets stand. The namespace is the handler's from here on,
   * also when it fails; a failure is told to the agent, and the call repeated every 5 s with a fresh handle.
   */
  add(uid: string, info: ZdsPodInfo, netns: Netns): Promise<void>;
  /** A pod is no longer to be served: stops accepting; open connections are the handler's to drain or end. */
  remove(uid: string): Promise<void>;
}>;

export type ZdsClientOptions = Readonly<{
  path: string;
  handler: ZdsHandler;
  /** Connected, every pod known, none pending: what readiness asks for. */
  onReady(ready: boolean): void;
  /** The agent breaks the protocol in a way after which nothing can be trusted; istio/ztunnel exits with 1. */
  onProtocolError(error: MeshError): void;
  log(message: string): void;
}>;

type Known = Readonly<{ netnsId: string }>;
type Pending = Readonly<{ info: ZdsPodInfo; netns: Netns }>;

/**
 * The proxy's end of ZDS: connects, learns its pods, and again whenever the agent restarts; pods are served on
 * meanwhile.
 *
 *   connect -> hello -> (add | keep)* -> snapshot sent: what was not named is dropped -> (add | del)* -> lost -> connect
 */
export class ZdsClient {
  readonly #options: ZdsClientOptions;
  readonly #known = new Map<string, Known>();
  /** Pods whose start failed; each connection begins without any. */
  readonly #pending = new Map<string, Pending>();
  /** Named since the connection was made; undefined once the snapshot is whole. */
  #snapshot: Set<string> | undefined;
  #socket: SeqpacketSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #delayMs = FIRST_RECONNECT_MS;
  #work: Promise<void> = Promise.resolve();
  #retrying = 0;
  #ready = false;
  #draining = false;
  #closed = false;

  constructor(options: ZdsClientOptions) {
    this.#options = options;
    this.#connect();
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Pods that could not be served when they came and are tried again. */
  get pendingPods(): number {
    return this.#pending.size + this.#retrying;
  }

  /**
   * For a proxy that is to end and may take long: takes no more pods, and does not come back to an agent that it loses;
   * hears of pods that go, so that nothing of them is kept.
   */
  drain(): void {
    this.#draining = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retryTimer);
    this.#forgetPending();
    this.#tellReady();
  }

  /** The agent is known to be there again: what is left of the pause is not waited for. */
  connectNow(): void {
    if (this.#closed || this.#draining || this.#socket !== undefined) return;
    clearTimeout(this.#timer);
    this.#delayMs = FIRST_RECONNECT_MS;
    this.#connect();
  }

  /** Lets the agent go; pods are served on. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retryTimer);
    this.#socket?.close();
    this.#forgetPending();
    this.#tellReady();
  }

  #connect(): void {
    try {
      const socket = connectSeqpacket(this.#options.path);
      this.#socket = socket;
      this.#snapshot = new Set();
      this.#forgetPending();
      socket.setHandler({
        onMessage: (bytes, descriptors) => {
          this.#receive(socket, bytes, descriptors);
        },
        onClose: (error) => {
          this.#lost(socket, error === undefined ? 'it closed' : describeError(error));
        },
      });
      socket.send(encodeHello());
    } catch (error) {
      const { code = '' } = error instanceof MeshError ? error : {};
      // Not there yet, at the start of a node: nothing to tell each time.
      if (code !== 'ERR_SYSTEM_ENOENT') this.#options.log(describeError(error));
      this.#lost(this.#socket, '');
    }
  }

  #receive(socket: SeqpacketSocket, bytes: Buffer, descriptors: readonly number[]): void {
    let request: ZdsRequest;
    try {
      request = decodeRequest(bytes);
    } catch (error) {
      for (const fd of descriptors) closeSync(fd);
      this.#refuse(socket, error);
      return;
    }
    const [fd, ...surplus] = descriptors;
    for (const other of surplus) closeSync(other);
    let netns: Netns | undefined;
    try {
      if (fd !== undefined) netns = adoptNetns(fd);
    } catch (error) {
      // Not the request's fault alone: what came is no namespace, so it is not used for anything.
      this.#answer(socket, describeError(error));
      return;
    }
    this.#work = this.#work.then(() => this.#handle(socket, request, netns));
  }

  /** An unreadable request: told, then begun anew; one that breaks the protocol's order: given up. */
  #refuse(socket: SeqpacketSocket, error: unknown): void {
    this.#answer(socket, describeError(error));
    if (error instanceof MeshError && error.code === 'ERR_ZDS')
      this.#options.onProtocolError(error);
    socket.close();
    this.#lost(socket, describeError(error));
  }

  /** Never rejects. */
  async #handle(
    socket: SeqpacketSocket,
    request: ZdsRequest,
    netns: Netns | undefined,
  ): Promise<void> {
    if (this.#socket !== socket || this.#closed) {
      netns?.close(); // of a connection that is over
      return;
    }
    if (request.kind !== 'add') netns?.close();
    try {
      switch (request.kind) {
        case 'add':
          if (this.#draining) {
            netns?.close();
            throw new Error('this proxy is about to end');
          }
          if (netns === undefined) throw new Error('no namespace came with it');
          await this.#add(request.uid, request.info, netns);
          break;
        case 'keep':
          this.#name(request.uid);
          break;
        case 'del':
          await this.#remove(request.uid);
          break;
        case 'snapshot-sent':
          await this.#completeSnapshot();
          break;
      }
      this.#answer(socket, undefined);
    } catch (error) {
      if (error instanceof MeshError && error.code === 'ERR_ZDS') this.#refuse(socket, error);
      else this.#answer(socket, describeError(error));
    }
    this.#tellReady();
  }

  async #add(uid: string, info: ZdsPodInfo, netns: Netns): Promise<void> {
    this.#snapshot?.add(uid);
    this.#dropPending(uid);
    const known = this.#known.get(uid);
    if (known?.netnsId === netns.id) {
      netns.close(); // the same pod once more, as after a restart of the agent
      return;
    }
    // A pod whose sandbox was made anew keeps its uid.
    if (known !== undefined) await this.#remove(uid);
    await this.#start(uid, info, netns);
  }

  async #start(uid: string, info: ZdsPodInfo, netns: Netns): Promise<void> {
    const { handler, log } = this.#options;
    // The handler may have closed its own by the time it fails.
    const again = openNetns(`/proc/self/fd/${netns.fd}`);
    try {
      await handler.add(uid, info, netns);
      again.close();
      this.#known.set(uid, { netnsId: netns.id });
    } catch (error) {
      if (this.#closed) again.close();
      else {
        log(`cannot serve pod ${info.namespace}/${info.name}: ${describeError(error)}`);
        this.#pending.set(uid, { info, netns: again });
        this.#scheduleRetry();
      }
      throw error;
    }
  }

  #name(uid: string): void {
    if (this.#snapshot === undefined)
      throw zdsError(`Cannot keep pod ${uid}: the snapshot has been sent`);
    this.#snapshot.add(uid);
  }

  async #remove(uid: string): Promise<void> {
    this.#dropPending(uid);
    if (!this.#known.delete(uid)) return;
    await this.#options.handler.remove(uid);
  }

  async #completeSnapshot(): Promise<void> {
    const named = this.#snapshot;
    if (named === undefined) throw zdsError('Cannot take a second snapshot on one connection');
    this.#snapshot = undefined;
    this.#delayMs = FIRST_RECONNECT_MS;
    for (const uid of [...this.#known.keys()]) if (!named.has(uid)) await this.#remove(uid);
  }

  #scheduleRetry(): void {
    if (this.#draining) return;
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      this.#work = this.#work.then(() => this.#retryPending());
    }, RETRY_PENDING_MS);
  }

  async #retryPending(): Promise<void> {
    // One at a time: who waits for its turn must be found when the agent is lost or takes the pod back.
    for (const uid of [...this.#pending.keys()]) {
      const pod = this.#pending.get(uid);
      if (pod === undefined) continue;
      this.#pending.delete(uid);
      this.#retrying = 1;
      await this.#start(uid, pod.info, pod.netns).catch(() => undefined); // told, and pending again
      this.#retrying = 0;
    }
    this.#tellReady();
  }

  #dropPending(uid: string): void {
    this.#pending.get(uid)?.netns.close();
    this.#pending.delete(uid);
  }

  #forgetPending(): void {
    for (const uid of [...this.#pending.keys()]) this.#dropPending(uid);
  }

  #answer(socket: SeqpacketSocket, error: string | undefined): void {
    try {
      if (!socket.closed) socket.send(encodeAck(error));
    } catch (failure) {
      this.#lost(socket, describeError(failure));
    }
  }

  #lost(socket: SeqpacketSocket | undefined, reason: string): void {
    if (this.#closed || socket !== this.#socket) return;
    socket?.close();
    this.#socket = undefined;
    if (reason !== '') this.#options.log(`the node agent is away: ${reason}`);
    this.#tellReady();
    if (this.#draining) return;
    this.#timer = setTimeout(() => {
      this.#connect();
    }, this.#delayMs);
    this.#delayMs = Math.min(LONGEST_RECONNECT_MS, this.#delayMs * 2);
  }

  #tellReady(): void {
    const ready =
      !this.#closed &&
      !this.#draining &&
      this.#socket !== undefined &&
      this.#snapshot === undefined &&
      this.#pending.size === 0;
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.#options.onReady(ready);
  }
}
