import { chmodSync, closeSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { MeshError } from '../base/errors.ts';
import { EXHAUSTED_PAUSE_MS, isExhausted } from './descriptor.ts';
import { EAGAIN, EPIPE, systemError } from './native/errno.ts';
import {
  acceptSocket,
  AF_UNIX,
  bindSocket,
  closeDescriptor,
  connectSocket,
  getOption,
  listenSocket,
  openSocket,
  SOCK_SEQPACKET,
} from './native/libc.ts';
import { allocateShared, type SharedBytes } from './native/memory.ts';
import { MessageBuffer } from './native/message.ts';
import { EDGE, type EventHandler, READABLE, runNextTurn, unwatch, watch } from './reactor.ts';

/** struct sockaddr_un: family, then a path of at most 107 bytes and its NUL. */
const SOCKADDR_UN_BYTES = 110;
const MAX_PATH_BYTES = 107;
const BACKLOG = 16;
const SO_PEERCRED = [1, 17] as const;
/** Longer messages are refused on both sides: none of the node agent's comes near. */
export const MAX_MESSAGE_BYTES = 64 << 10;
/** Messages of one socket in one turn. */
const MESSAGES_PER_TURN = 64;

export type PeerCredentials = Readonly<{ pid: number; uid: number; gid: number }>;

export interface SeqpacketHandler {
  /** One message, whole, valid during the call; the descriptors that came with it are the handler's to close. */
  onMessage(bytes: Buffer, descriptors: readonly number[]): void;
  /** The peer has gone, in order or not. Nothing follows. */
  onClose(error?: Error): void;
}

/** A connected unix socket that keeps message boundaries and passes descriptors. */
export class SeqpacketSocket implements EventHandler {
  readonly #fd: number;
  #handler: SeqpacketHandler | undefined;
  #closed = false;
  #readable = false;

  /** @param fd connected, non-blocking; owned from here on. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Who is on the other side, as the kernel saw it when the connection was made. */
  get peerCredentials(): PeerCredentials {
    const result = getOption(this.#fd, ...SO_PEERCRED, credentials, credentialsLength);
    if (result < 0) throw systemError(-result, "read the peer's credentials");
    const { buffer } = credentials;
    return {
      pid: buffer.readInt32LE(0),
      uid: buffer.readUInt32LE(4),
      gid: buffer.readUInt32LE(8),
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Begins to deliver messages, from the reactor's next turn on. */
  setHandler(handler: SeqpacketHandler): void {
    const first = this.#handler === undefined;
    this.#handler = handler;
    if (first && !this.#closed) watch(this.#fd, READABLE | EDGE, this);
  }

  /**
   * Sends one message, with at most one descriptor, of which the peer gets a copy.
   *
   * @throws {MeshError} ERR_MESSAGE_SIZE, ERR_SYSTEM_EAGAIN when the peer does not read, ERR_SYSTEM_EPIPE when it has gone.
   */
  send(bytes: Uint8Array, descriptor?: number): void {
    if (bytes.length === 0 || bytes.length > MAX_MESSAGE_BYTES)
      throw messageSizeError(`${bytes.length} bytes`);
    const result = this.#closed ? -EPIPE : outgoing.send(this.#fd, bytes, descriptor);
    if (result < 0) throw systemError(-result, 'send a message on a unix socket');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#handler !== undefined) unwatch(this.#fd);
    closeDescriptor(this.#fd);
  }

  onEvent(): void {
    this.#readable = true;
    this.runTask();
  }

  runTask(): void {
    for (let count = 0; this.#readable && !this.#closed; count++) {
      if (count === MESSAGES_PER_TURN) {
        runNextTurn(this);
        return;
      }
      this.#receive();
    }
  }

  #receive(): void {
    const result = incoming.receive(this.#fd);
    if (result === -EAGAIN) {
      this.#readable = false;
      return;
    }
    const descriptors = incoming.descriptors();
    if (result > 0 && !incoming.truncated) {
      this.#handler?.onMessage(incoming.message(result), descriptors);
      return;
    }
    for (const fd of descriptors) closeSync(fd);
    this.close();
    if (result === 0) this.#handler?.onClose();
    else if (result < 0) this.#handler?.onClose(systemError(-result, 'read a unix socket'));
    else this.#handler?.onClose(messageSizeError(`more than ${MAX_MESSAGE_BYTES} bytes`));
  }
}

/** Apart, because a handler answers while it still reads what it was given. */
const incoming = new MessageBuffer(MAX_MESSAGE_BYTES);
const outgoing = new MessageBuffer(MAX_MESSAGE_BYTES);
const credentials = allocateShared(12);
const credentialsLength = allocateShared(4);
const peer = allocateShared(SOCKADDR_UN_BYTES);
const peerLength = allocateShared(4);

export type SeqpacketListenOptions = Readonly<{
  path: string;
  /** Of the socket; 0o600 unless said otherwise. Its folder is made with mode 0700 when it is missing. */
  mode?: number;
  onConnection(socket: SeqpacketSocket): void;
}>;

export type SeqpacketListener = Readonly<{ close(): void }>;

/**
 * Listens on a path. A socket that a process left behind is replaced; anything else at the path is an error.
 *
 * @throws {MeshError} ERR_SOCKET_PATH, or the system's error.
 */
export function listenSeqpacket(options: SeqpacketListenOptions): SeqpacketListener {
  const { path } = options;
  const where = `listen on ${path}`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const address = unixAddress(path);
  removeStaleSocket(path);
  const fd = openSocket(AF_UNIX, SOCK_SEQPACKET);
  if (fd < 0) throw systemError(-fd, where);
  try {
    const bound = bindSocket(fd, address, SOCKADDR_UN_BYTES);
    if (bound < 0) throw systemError(-bound, where);
    chmodSync(path, options.mode ?? 0o600);
    const listening = listenSocket(fd, BACKLOG);
    if (listening < 0) throw systemError(-listening, where);
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
  let open = true;
  let pause: NodeJS.Timeout | undefined;
  const accept = {
    onEvent(): void {
      const accepted = acceptSocket(fd, peer, peerLength);
      if (accepted >= 0) options.onConnection(new SeqpacketSocket(accepted));
      else if (isExhausted(-accepted)) {
        unwatch(fd);
        pause = setTimeout(() => {
          watch(fd, READABLE, accept);
        }, EXHAUSTED_PAUSE_MS);
      }
    },
  };
  watch(fd, READABLE, accept);
  return {
    close() {
      if (!open) return;
      open = false;
      clearTimeout(pause);
      unwatch(fd);
      closeDescriptor(fd);
      removeStaleSocket(path);
    },
  };
}

/**
 * Connects to a path; on a unix socket that is done or refused at once.
 *
 * @throws {MeshError} ERR_SYSTEM_ENOENT, ERR_SYSTEM_ECONNREFUSED when nobody listens, ERR_SYSTEM_EAGAIN when its queue is full.
 */
export function connectSeqpacket(path: string): SeqpacketSocket {
  const address = unixAddress(path);
  const fd = openSocket(AF_UNIX, SOCK_SEQPACKET);
  if (fd < 0) throw systemError(-fd, `connect to ${path}`);
  const result = connectSocket(fd, address, SOCKADDR_UN_BYTES);
  if (result === 0) return new SeqpacketSocket(fd);
  closeDescriptor(fd);
  throw systemError(-result, `connect to ${path}`);
}

function unixAddress(path: string): SharedBytes {
  const bytes = Buffer.from(path);
  if (bytes.length === 0 || bytes.length > MAX_PATH_BYTES || bytes.includes(0))
    throw new MeshError(
      'ERR_SOCKET_PATH',
      'local',
      `Cannot use ${JSON.stringify(path)} as a socket's path: 1 to ${MAX_PATH_BYTES} bytes without NUL are possible`,
    );
  const address = allocateShared(SOCKADDR_UN_BYTES);
  address.buffer.writeUInt16LE(AF_UNIX, 0);
  address.buffer.set(bytes, 2);
  return address;
}

/** Never follows a link, and never removes what is not a socket: the path may have been put there by someone else. */
function removeStaleSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new MeshError('ERR_SOCKET_PATH', 'local', `Cannot listen on ${path}: it is no socket`);
  unlinkSync(path);
}

function messageSizeError(found: string): MeshError {
  return new MeshError(
    'ERR_MESSAGE_SIZE',
    'local',
    `Cannot pass a message of 1 to ${MAX_MESSAGE_BYTES} bytes: found ${found}`,
  );
}
