import type { Transferable } from 'node:worker_threads';
import { describeError, MeshError, type Side } from '../../base/errors.ts';

/** What one side of a link can be asked: by name, with what, for what. */
export type CallMap = Readonly<Record<string, Readonly<{ request: unknown; response: unknown }>>>;

/** Who answers the calls of a map. */
export type CallHandlers<Calls extends CallMap> = Readonly<{
  [Name in keyof Calls]: (
    request: Calls[Name]['request'],
  ) => Calls[Name]['response'] | Promise<Calls[Name]['response']>;
}>;

/** What callers see of a link. */
export interface CallLink<Remote extends CallMap> {
  /**
   * Asks the other side.
   *
   * @throws {MeshError} what its handler threw, or ERR_THREAD_LINK once the link is closed.
   */
  call<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
    transfer?: readonly Transferable[],
  ): Promise<Remote[Name]['response']>;
  /** Tells the other side, which does not answer; after the end of the link it is lost. */
  notify<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
    transfer?: readonly Transferable[],
  ): void;
}

type PlainError = Readonly<{ code: string; side: Side; message: string }>;
type LinkMessage = Readonly<
  | { kind: 'call'; id: number; name: string; request: unknown }
  | { kind: 'notify'; name: string; request: unknown }
  | { kind: 'answer'; id: number; response: unknown }
  | { kind: 'failure'; id: number; error: PlainError }
>;

/** A MessagePort, or the Worker that stands for one. */
type PortLike = Readonly<{
  postMessage(message: unknown, transfer: readonly Transferable[]): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}>;

export type ThreadLinkOptions<Local extends CallMap> = Readonly<{
  handlers: CallHandlers<Local>;
  /** A notification's handler failed; there is nobody else to tell. */
  onNotifyError: (error: unknown, name: string) => void;
}>;

/** Calls in both directions between two threads, over a port or a worker. Requests and answers are cloned. */
export class ThreadLink<Local extends CallMap, Remote extends CallMap> implements CallLink<Remote> {
  readonly #port: PortLike;
  readonly #handlers: ReadonlyMap<string, (request: unknown) => unknown>;
  readonly #onNotifyError: (error: unknown, name: string) => void;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 0;
  #closed: MeshError | undefined;

  constructor(port: PortLike, options: ThreadLinkOptions<Local>) {
    this.#port = port;
    this.#handlers = new Map(Object.entries(options.handlers));
    this.#onNotifyError = options.onNotifyError;
    port.on('message', (message) => {
      this.#receive(message as LinkMessage);
    });
  }

  async call<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
    transfer: readonly Transferable[] = [],
  ): Promise<Remote[Name]['response']> {
    if (this.#closed !== undefined) throw this.#closed;
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    try {
      this.#post({ kind: 'call', id, name, request }, transfer);
    } catch (error) {
      this.#waiting.delete(id); // something in the request cannot be cloned
      throw error;
    }
    return await waiting.promise;
  }

  notify<Name extends keyof Remote & string>(
    name: Name,
    request: Remote[Name]['request'],
    transfer: readonly Transferable[] = [],
  ): void {
    if (this.#closed === undefined) this.#post({ kind: 'notify', name, request }, transfer);
  }

  /** Fails what still waits for an answer. The port is its owner's to close. */
  close(reason: string): void {
    if (this.#closed !== undefined) return;
    const message = `Cannot call the other thread: ${reason}`;
    this.#closed = new MeshError('ERR_THREAD_LINK', 'local', message);
    for (const waiting of this.#waiting.values()) waiting.reject(this.#closed);
    this.#waiting.clear();
  }

  #post(message: LinkMessage, transfer: readonly Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #receive(message: LinkMessage): void {
    switch (message.kind) {
      case 'call':
        void this.#answer(message.id, message.name, message.request);
        break;
      case 'notify':
        void this.#hear(message.name, message.request);
        break;
      case 'answer':
        this.#waiting.get(message.id)?.resolve(message.response);
        this.#waiting.delete(message.id);
        break;
      case 'failure': {
        const { code, side, message: text } = message.error;
        this.#waiting.get(message.id)?.reject(new MeshError(code, side, text));
        this.#waiting.delete(message.id);
      }
    }
  }

  async #handle(name: string, request: unknown): Promise<unknown> {
    const handler = this.#handlers.get(name);
    if (handler === undefined)
      throw new MeshError('ERR_THREAD_LINK', 'local', `Cannot answer call ${name}: unknown name`);
    return await handler(request);
  }

  /** Never rejects: a failure is an answer too. */
  async #answer(id: number, name: string, request: unknown): Promise<void> {
    try {
      this.#post({ kind: 'answer', id, response: await this.#handle(name, request) });
    } catch (error) {
      this.#post({ kind: 'failure', id, error: toPlainError(error) });
    }
  }

  async #hear(name: string, request: unknown): Promise<void> {
    try {
      await this.#handle(name, request);
    } catch (error) {
      this.#onNotifyError(error, name);
    }
  }
}

function toPlainError(error: unknown): PlainError {
  if (error instanceof MeshError)
    return { code: error.code, side: error.side, message: describeError(error) };
  return { code: 'ERR_THREAD_CALL', side: 'local', message: describeError(error) };
}
