import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { withDeadline } from './deadline.ts';
import type {
  Ending,
  ListenMode,
  PeerConnection,
  PeerLine,
  PeerOperation,
  PeerOperations,
  PeerRequest,
  Transfer,
} from './peer-protocol.ts';

/** For a pod to start its peer, on a machine that is busy with others. */
const HELLO_TIMEOUT_MS = 15_000;
/** For what a peer is asked; longer than the proxies try in vain (10 s). */
const ANSWER_TIMEOUT_MS = 15_000;

const PROGRAM = join(import.meta.dirname, 'peer-program.ts');

/** Where the peers in the pods of a mesh call in. */
export class PeerHub {
  readonly path: string;
  readonly #server: Server;
  readonly #peers = new Map<string, Peer>();
  readonly #events = new EventTarget();

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => {
      const peer = new Peer(socket, () => {
        this.#peers.set(peer.name, peer);
        this.#events.dispatchEvent(new Event('hello'));
      });
    });
  }

  static async listen(path: string): Promise<PeerHub> {
    const hub = new PeerHub(path);
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    hub.#server.once('error', reject);
    hub.#server.listen(path, () => {
      resolve(undefined);
    });
    await promise;
    return hub;
  }

  /** The command that runs a peer, for the sandbox's map of images. */
  get command(): string[] {
    return [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM, this.path];
  }

  /** The peer in a pod, `<namespace>/<pod>`, as soon as it has called in. */
  async peer(name: string): Promise<Peer> {
    const known = (): Peer | undefined => {
      const found = this.#peers.get(name);
      return found === undefined || found.gone ? undefined : found;
    };
    const there = known();
    if (there !== undefined) return there;
    const { promise, resolve } = Promise.withResolvers<Peer>();
    const look = (): void => {
      const found = known();
      if (found !== undefined) resolve(found);
    };
    this.#events.addEventListener('hello', look);
    try {
      return await withDeadline(promise, HELLO_TIMEOUT_MS, `peer ${name} calls in`);
    } finally {
      this.#events.removeEventListener('hello', look);
    }
  }

  close(): void {
    this.#server.close();
    for (const peer of this.#peers.values()) peer.close();
  }
}

/** A scripted peer: a process in a pod that does what a test says. */
export class Peer {
  readonly #socket: Socket;
  readonly #asked = new Map<number, PromiseWithResolvers<unknown>>();
  #name = '';
  #lastId = 0;
  /** Its process has ended. */
  gone = false;
  /** Settles when its process has ended. */
  readonly ended: Promise<undefined>;

  constructor(socket: Socket, onHello: () => void) {
    this.#socket = socket;
    socket.on('error', () => undefined); // its close says the same
    const end = Promise.withResolvers<undefined>();
    this.ended = end.promise;
    socket.on('close', () => {
      this.gone = true;
      end.resolve(undefined);
      for (const { reject } of this.#asked.values()) reject(new Error(`peer ${this.#name} ended`));
      this.#asked.clear();
    });
    const lines = createInterface({ input: socket });
    lines.on('error', () => undefined); // it hands on those of the socket
    lines.on('line', (text) => {
      const line = JSON.parse(text) as PeerLine;
      if ('hello' in line) {
        this.#name = line.hello;
        onHello();
        return;
      }
      const waiting = this.#asked.get(line.id);
      this.#asked.delete(line.id);
      if ('answer' in line) waiting?.resolve(line.answer);
      else waiting?.reject(new PeerError(this.#name, line.error));
    });
  }

  /** `<namespace>/<pod>`. */
  get name(): string {
    return this.#name;
  }

  /** @throws {PeerError} with the code of what went wrong in the peer, such as ECONNREFUSED. */
  async ask<Op extends PeerOperation>(
    op: Op,
    ask: PeerOperations[Op]['ask'],
    timeoutMs = ANSWER_TIMEOUT_MS,
  ): Promise<PeerOperations[Op]['answer']> {
    if (this.gone) throw new Error(`peer ${this.#name} ended`);
    this.#lastId += 1;
    const waiting = Promise.withResolvers<unknown>();
    this.#asked.set(this.#lastId, waiting);
    const request: PeerRequest = { id: this.#lastId, op, ask };
    this.#socket.write(`${JSON.stringify(request)}\n`);
    const what = `${this.#name}: ${op} ${JSON.stringify(ask)}`;
    return (await withDeadline(waiting.promise, timeoutMs, what)) as PeerOperations[Op]['answer'];
  }

  /** Listens, on both families unless `host` says which; an `echo` unless told otherwise. */
  async listen(
    port: number,
    mode: ListenMode = 'echo',
    options: Readonly<{ host?: string; greeting?: string }> = {},
  ): Promise<void> {
    await this.ask('listen', { port, mode, ...options });
  }

  /** @throws {PeerError} when it fails. */
  async connect(
    host: string,
    port: number,
    options: Readonly<{ from?: string; family?: 4 | 6 }> = {},
  ): Promise<Connection> {
    return new Connection(this, await this.ask('connect', { host, port, ...options }));
  }

  /** The next connection of a listener in mode `queue`. */
  async accept(port: number): Promise<Connection> {
    return new Connection(this, await this.ask('accept', { port }));
  }

  /** One short connection: connects, says the text to an echo, and ends when it is back. */
  async say(host: string, port: number, text: string): Promise<Said> {
    let connection: Connection;
    try {
      connection = await this.connect(host, port);
    } catch (error) {
      return { text: '', ended: (error as PeerError).code, local: '' };
    }
    const { local } = connection;
    // A refusal may come before the write, or after it.
    await connection.write(text).catch(() => undefined);
    const back = await connection.read(text.length);
    if (back.ended !== undefined) return { text: back.text, ended: back.ended, local };
    await connection.end();
    const { how } = await connection.ended();
    return { text: back.text, ended: how, local };
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** What came of a short connection; the text is back and it ended with `end` when all went well. */
export type Said = Readonly<{ text: string; ended: Ending; local: string }>;

/** A connection in a peer's hands. */
export class Connection {
  readonly peer: Peer;
  readonly handle: number;
  /** Both ends as the peer's socket has them, such as `10.244.16.2:41938`. */
  readonly local: string;
  readonly remote: string;

  constructor(peer: Peer, { handle, local, remote }: PeerConnection) {
    this.peer = peer;
    this.handle = handle;
    this.local = local;
    this.remote = remote;
  }

  async write(text: string): Promise<void> {
    await this.peer.ask('write', { handle: this.handle, text });
  }

  /** Waits for that many bytes, or for the end. */
  read(bytes: number): Promise<{ text: string; ended?: Ending }> {
    return this.peer.ask('read', { handle: this.handle, bytes });
  }

  /** Says a text to an echo; true when it came back. */
  async echo(text: string): Promise<boolean> {
    await this.write(text);
    return (await this.read(Buffer.byteLength(text))).text === text;
  }

  /** Half-closes. */
  async end(): Promise<void> {
    await this.peer.ask('end', { handle: this.handle });
  }

  async reset(): Promise<void> {
    await this.peer.ask('reset', { handle: this.handle });
  }

  /** Waits for the other side's end; `text` is what came before it and was not read. */
  ended(): Promise<{ how: Ending; text: string }> {
    return this.peer.ask('ended', { handle: this.handle });
  }

  send(bytes: number, timeoutMs?: number): Promise<Transfer> {
    return this.peer.ask('send', { handle: this.handle, bytes }, timeoutMs);
  }

  receive(bytes: number, timeoutMs?: number): Promise<Transfer & { ended?: Ending }> {
    return this.peer.ask('receive', { handle: this.handle, bytes }, timeoutMs);
  }
}

/** What a peer's own sockets met. */
export class PeerError extends Error {
  readonly code: string;

  constructor(peer: string, { code, message }: Readonly<{ code: string; message: string }>) {
    super(`${peer}: ${message}`);
    this.code = code;
  }
}
