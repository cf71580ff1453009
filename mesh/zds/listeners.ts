import { closeSync } from 'node:fs';
import { describeError, MeshError } from '../../base/errors.ts';
import {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketListener,
  type SeqpacketSocket,
} from '../../net/unix.ts';

/*
 * Halo's own channel beside ZDS: the node agent makes the listening sockets of a pod inside the pod's namespace, keeps
 * them, and hands the proxy the same sockets. What a proxy that has died would have accepted waits in their queues for
 * the next one. Messages are JSON:
 *   proxy -> agent  {"id": 1, "uid": "...", "port": 15001}
 *   agent -> proxy  {"id": 1, "transparent": true} with the descriptor, or {"id": 1, "error": "..."}
 * An agent that was started anew has lost its sockets while the proxy still holds them, so the proxy gives them back:
 *   proxy -> agent  {"id": 2, "uid": "...", "port": 15001, "offer": true, "transparent": true} with the descriptor
 *   agent -> proxy  {"id": 2}, or {"id": 2, "error": "..."}
 */
type ListenerRequest = Readonly<{ id: number; uid: string; port: number }>;
type ListenerOffer = ListenerRequest & Readonly<{ offer: true; transparent: boolean }>;
type ListenerAnswer = Readonly<{ id: number; transparent?: boolean; error?: string }>;

/** The sockets of a pod that the proxy accepts from: outbound, plaintext inbound, HBONE. */
export const POD_PORTS: readonly number[] = [15001, 15006, 15008];

const ANSWER_TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 16;
/** A Kubernetes uid is 36 characters; longer names are no pod's. */
const MAX_UID_CHARACTERS = 256;

/** `transparent`: the kernel allowed IP_TRANSPARENT, so that clients' source addresses can be kept. */
export type PodListener = Readonly<{ fd: number; transparent: boolean }>;

export type ListenerServerOptions = Readonly<{
  path: string;
  /**
   * The listening socket of a pod's port; it stays the agent's, the proxy gets a copy.
   *
   * @throws {Error} when there is no such pod or the socket cannot be made.
   */
  open(uid: string, port: number): PodListener;
  /**
   * The proxy's own copy of what an agent before this one gave it; the descriptor is the callee's from here on.
   *
   * @throws {Error} when there is no such pod, or it is no such socket.
   */
  adopt(uid: string, port: number, listener: PodListener): void;
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
    const { uid, port } = request;
    if (!POD_PORTS.includes(port)) throw listenerError(`port ${port} is none of the proxy's`);
    if ('offer' in request) {
      if (offered === undefined) throw listenerError('no descriptor came with the offer');
      unowned = undefined;
      adopt(uid, port, { fd: offered, transparent: request.transparent });
      socket.send(encode({ id }));
      return true;
    }
    const { fd, transparent } = open(uid, port);
    socket.send(encode({ id, transparent }), fd);
    return true;
  } catch (error) {
    const text = describeError(error);
    log(`cannot share a listener: ${text}`);
    try {
      socket.send(encode({ id, error: text.slice(0, 500) }));
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

/** The proxy's end; connects when it is first needed, and again after the agent was away. */
export class ListenerClient {
  readonly #path: string;
  readonly #waiting = new Map<number, Waiting>();
  #socket: SeqpacketSocket | undefined;
  #nextId = 1;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The listening socket of a pod's port; the descriptor is the caller's, the agent has its own.
   *
   * @throws {MeshError} ERR_LISTENER with the agent's reason; ERR_SYSTEM_ENOENT, ERR_SYSTEM_ECONNREFUSED when no
   *   agent of ours is there (Istio's has no such channel), so that the caller makes the socket itself.
   */
  async request(uid: string, port: number): Promise<PodListener> {
    const listener = await this.#ask(uid, port);
    if (listener === undefined) throw listenerError('no descriptor came');
    return listener;
  }

  /**
   * Gives an agent that was started anew its copy of a socket; the caller keeps its own.
   *
   * @throws {MeshError} ERR_LISTENER with the agent's reason, and as request().
   */
  async offer(uid: string, port: number, { fd, transparent }: PodListener): Promise<void> {
    const listener = await this.#ask(uid, port, { offer: true, transparent }, fd);
    if (listener !== undefined) closeSync(listener.fd); // none was asked for
  }

  #ask(
    uid: string,
    port: number,
    offer?: Pick<ListenerOffer, 'offer' | 'transparent'>,
    fd?: number,
  ): Promise<PodListener | undefined> {
    return new Promise((resolve, reject) => {
      const socket = (this.#socket ??= this.#connect());
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(listenerError(`port ${port} of pod ${uid}: no answer in time`));
      }, ANSWER_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      try {
        socket.send(encode({ id, uid, port, ...offer }), fd);
      } catch (error) {
        this.#lose(socket, describeError(error));
      }
    });
  }

  close(): void {
    if (this.#socket !== undefined) this.#lose(this.#socket, 'the proxy ends');
  }

  #connect(): SeqpacketSocket {
    const socket = connectSeqpacket(this.#path);
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
      waiting.reject(listenerError(told.error));
    }
  }

  #lose(socket: SeqpacketSocket, reason: string): void {
    socket.close();
    if (this.#socket === socket) this.#socket = undefined;
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
  const { id, uid, port, offer, transparent } = request;
  const named = typeof uid === 'string' && uid.length <= MAX_UID_CHARACTERS;
  if (!named || typeof port !== 'number' || typeof id !== 'number' || !(id > 0))
    throw listenerError('the request is not readable');
  if (offer !== true) return { id, uid, port };
  return { id, uid, port, offer, transparent: transparent === true };
}

function parseAnswer(bytes: Buffer): ListenerAnswer | undefined {
  try {
    const answer = JSON.parse(bytes.toString()) as Record<string, unknown>;
    const { id, transparent, error } = answer;
    if (typeof id !== 'number') return undefined;
    return {
      id,
      ...(typeof transparent === 'boolean' && { transparent }),
      ...(typeof error === 'string' && { error }),
    };
  } catch {
    return undefined;
  }
}

function listenerError(found: string): MeshError {
  return new MeshError('ERR_LISTENER', 'local', `Cannot get a pod's listening socket: ${found}`);
}
