import { closeSync } from 'node:fs';
import { describeError, MeshError } from '../../base/errors.ts';
import {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketListener,
  type SeqpacketSocket,
} from '../../net/unix.ts';
import { isPodSocketName, type PodSocketName } from './pod-sockets.ts';

/*
 * Halo's own channel beside ZDS: the node agent makes the sockets that a pod is served by inside the pod's namespace,
 * keeps them, and hands the proxy the same sockets. Connections and DNS queries that a proxy that has died would have
 * taken wait in their queues for the next one. Messages are JSON:
 *   proxy -> agent  {"id": 1, "uid": "...", "socket": "outbound"}
 *   agent -> proxy  {"id": 1, "transparent": true} with the descriptor, or {"id": 1, "error": "...", "code": "ERR_..."}
 * An agent that was started anew has lost its sockets while the proxy still holds them, so the proxy gives them back at
 * once, before the agent has found its pods:
 *   proxy -> agent  {"id": 2, "uid": "...", "socket": "outbound", "offer": true, "transparent": true} with the descriptor
 *   agent -> proxy  {"id": 2}, or {"id": 2, "error": "...", "code": "ERR_..."}
 */
type ListenerRequest = Readonly<{ id: number; uid: string; socket: string }>;
type ListenerOffer = ListenerRequest & Readonly<{ offer: true; transparent: boolean }>;
type ListenerAnswer = Readonly<{
  id: number;
  transparent?: boolean;
  error?: string;
  code?: string;
}>;

const ANSWER_TIMEOUT_MS = 5000;
/** How often a proxy looks for an agent that is away: until it is back, what this process holds nobody else does. */
const RECONNECT_MS = 50;
const MAX_CONNECTIONS = 16;
/** A Kubernetes uid is 36 characters; longer names are no pod's. */
const MAX_UID_CHARACTERS = 256;
const ERROR_CODE = /^ERR_[A-Z0-9_]{1,60}$/;

/** `transparent`: the kernel allowed IP_TRANSPARENT, so that clients' source addresses can be kept. */
export type PodListener = Readonly<{ fd: number; transparent: boolean }>;

export type ListenerServerOptions = Readonly<{
  path: string;
  /**
   * That socket of a pod; it stays the agent's, the proxy gets a copy.
   *
   * @throws {Error} when there is no such pod or the socket cannot be made.
   */
  open(uid: string, socket: PodSocketName): PodListener;
  /**
   * The proxy's own copy of what an agent before this one gave it; the descriptor is the callee's from here on.
   *
   * @throws {Error} when there is no such pod, or it is no such socket.
   */
  adopt(uid: string, socket: PodSocketName, listener: PodListener): void;
  log(message: string): void;
}>;

/** The agent's end. */
export function serveListeners(options: ListenerServerOptions): SeqpacketListener {
  const connections = new Set<SeqpacketSocket>();
  const listener = listenSeqpacket({
    path: options.path,
    mode: 0o600,
    onConnection: (socket) => {
      const { uid } = socket.peerCredentials;
      if (uid !== process.geteuid?.() || connections.size >= MAX_CONNECTIONS) {
        options.log(`refused a connection of user ${uid} for listeners`);
        socket.close();
        return;
      }
      connections.add(socket);
      socket.setHandler({
        onMessage: (bytes, descriptors) => {
          const [fd, ...surplus] = descriptors;
          for (const other of surplus) closeSync(other);
          if (answer(socket, bytes, fd, options)) return;
          connections.delete(socket);
          socket.close();
        },
        onClose: () => {
          connections.delete(socket);
        },
      });
    },
  });
  return {
    close() {
      listener.close();
      for (const socket of connections) socket.close();
      connections.clear();
    },
  };
}

/** @returns false when the connection is of no more use. */
function answer(
  socket: SeqpacketSocket,
  bytes: Buffer,
  offered: number | undefined,
  { open, adopt, log }: ListenerServerOptions,
): boolean {
  let id = 0;
  let unowned = offered;
  try {
    const request = parseRequest(bytes);
    id = request.id;
    const { uid, socket: name } = request;
    if (!isPodSocketName(name)) throw listenerError(`${name} is none of the sockets of a pod`);
    if ('offer' in request) {
      if (offered === undefined) throw listenerError('no descriptor came with the offer');
      unowned = undefined;
      adopt(uid, name, { fd: offered, transparent: request.transparent });
      socket.send(encode({ id }));
      return true;
    }
    const { fd, transparent } = open(uid, name);
    socket.send(encode({ id, transparent }), fd);
    return true;
  } catch (error) {
    const text = describeError(error);
    log(`cannot share a listener: ${text}`);
    try {
      socket.send(encode({ id, error: text.slice(0, 500), code: codeOf(error) }));
      return id > 0;
    } catch {
      return false; // the proxy has gone
    }
  } finally {
    if (unowned !== undefined) closeSync(unowned);
  }
}

type Waiting = Readonly<{
  /** Without a listener for the answer to an offer. */
  resolve: (listener: PodListener | undefined) => void;
  reject: (error: MeshError) => void;
  timer: NodeJS.Timeout;
}>;

/** The proxy's end; connects when it is first needed, and by itself as soon as an agent that was lost is there again. */
export class ListenerClient {
  readonly #path: string;
  readonly #onReturn: () => void;
  readonly #waiting = new Map<number, Waiting>();
  #socket: SeqpacketSocket | undefined;
  #nextId = 1;
  /** Of the next look for an agent that was lost. */
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param onReturn an agent is there again after one was lost: it has none of the sockets. */
  constructor(path: string, onReturn: () => void = () => undefined) {
    this.#path = path;
    this.#onReturn = onReturn;
  }

  /**
   * A socket of a pod; the descriptor is the caller's, the agent has its own.
   *
   * @throws {MeshError} the agent's code and reason, ERR_LISTENER or the system's error that it met; ERR_SYSTEM_ENOENT, ERR_SYSTEM_ECONNREFUSED when no
   *   agent of ours is there (Istio's has no such channel), so that the caller makes the socket itself.
   */
  async request(uid: string, name: PodSocketName): Promise<PodListener> {
    const listener = await this.#ask(uid, name);
    if (listener === undefined) throw listenerError('no descriptor came');
    return listener;
  }

  /**
   * Gives an agent that was started anew its copy of a socket; the caller keeps its own.
   *
   * @throws {MeshError} ERR_LISTENER with the agent's reason, and as request().
   */
  async offer(uid: string, name: PodSocketName, { fd, transparent }: PodListener): Promise<void> {
    const listener = await this.#ask(uid, name, { offer: true, transparent }, fd);
    if (listener !== undefined) closeSync(listener.fd); // none was asked for
  }

  #ask(
    uid: string,
    name: PodSocketName,
    offer?: Pick<ListenerOffer, 'offer' | 'transparent'>,
    fd?: number,
  ): Promise<PodListener | undefined> {
    return new Promise((resolve, reject) => {
      const socket = (this.#socket ??= this.#connect());
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(listenerError(`${name} of pod ${uid}: no answer in time`));
      }, ANSWER_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      try {
        socket.send(encode({ id, uid, socket: name, ...offer }), fd);
      } catch (error) {
        this.#lose(socket, describeError(error));
      }
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.#socket !== undefined) this.#lose(this.#socket, 'the proxy ends');
  }

  /** Nothing else would notice: requests come with new pods, and those come from an agent that has them all. */
  #lookForAgent(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      try {
        this.#socket ??= this.#connect();
      } catch {
        this.#lookForAgent(); // not there yet
      }
    }, RECONNECT_MS);
  }

  #connect(): SeqpacketSocket {
    const socket = connectSeqpacket(this.#path);
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      queueMicrotask(this.#onReturn);
    }
    socket.setHandler({
      onMessage: (bytes, descriptors) => {
        this.#receive(socket, bytes, descriptors);
      },
      onClose: (error) => {
        this.#lose(socket, error === undefined ? 'the agent has closed' : describeError(error));
      },
    });
    return socket;
  }

  #receive(socket: SeqpacketSocket, bytes: Buffer, descriptors: readonly number[]): void {
    const [fd, ...surplus] = descriptors;
    for (const other of surplus) closeSync(other);
    const told = parseAnswer(bytes);
    const waiting = told === undefined ? undefined : this.#waiting.get(told.id);
    if (told === undefined || waiting === undefined) {
      if (fd !== undefined) closeSync(fd);
      // An answer that came too late is no reason; one that cannot be read is.
      if (told === undefined) this.#lose(socket, 'the answer is no JSON of ours');
      return;
    }
    this.#waiting.delete(told.id);
    clearTimeout(waiting.timer);
    if (told.error === undefined)
      waiting.resolve(fd === undefined ? fd : { fd, transparent: told.transparent === true });
    else {
      if (fd !== undefined) closeSync(fd);
      waiting.reject(listenerError(told.error, told.code));
    }
  }

  #lose(socket: SeqpacketSocket, reason: string): void {
    socket.close();
    if (this.#socket === socket) {
      this.#socket = undefined;
      if (!this.#closed) this.#lookForAgent();
    }
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(listenerError(reason));
    }
    this.#waiting.clear();
  }
}

function encode(message: ListenerRequest | ListenerOffer | ListenerAnswer): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}

function parseRequest(bytes: Buffer): ListenerRequest | ListenerOffer {
  const request = JSON.parse(bytes.toString()) as Record<string, unknown>;
  const { id, uid, socket, offer, transparent } = request;
  const named = typeof uid === 'string' && uid.length <= MAX_UID_CHARACTERS;
  if (!named || typeof socket !== 'string' || typeof id !== 'number' || !(id > 0))
    throw listenerError('the request is not readable');
  if (offer !== true) return { id, uid, socket };
  return { id, uid, socket, offer, transparent: transparent === true };
}

function parseAnswer(bytes: Buffer): ListenerAnswer | undefined {
  try {
    const answer = JSON.parse(bytes.toString()) as Record<string, unknown>;
    const { id, transparent, error, code } = answer;
    if (typeof id !== 'number') return undefined;
    return {
      id,
      ...(typeof transparent === 'boolean' && { transparent }),
      ...(typeof error === 'string' && { error }),
      ...(typeof code === 'string' && ERROR_CODE.test(code) && { code }),
    };
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  return error instanceof MeshError ? error.code : 'ERR_LISTENER';
}

function listenerError(found: string, code = 'ERR_LISTENER'): MeshError {
  return new MeshError(code, 'local', `Cannot get a pod's listening socket: ${found}`);
}
