import { existsSync, readdirSync } from 'node:fs';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { MeshError } from '../base/errors.ts';
import {
  DEFAULT_SANDBOX_NAME,
  sandboxPaths,
  stateFolder,
  stateHome,
  type ErrorResponse,
  type KubernetesObject,
  type ObjectList,
  type ObjectsQuery,
  type SandboxEvent,
  type SandboxPaths,
  type SandboxStatus,
  type WaitGoal,
  type WaitResult,
  type WatchEvent,
} from '../deploy/sandbox/api.ts';

/** Values of a query; lists repeat their key, what is undefined is left out. */
type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** More than any answer of ours; a runaway answer must not fill the memory. */
const MAX_ANSWER_BYTES = 256 << 20;

/** The name of the sandbox that a command is about: `--name`, else HALO_NAME, else "default". */
export function sandboxName(option: string | undefined): string {
  const fromEnvironment = process.env['HALO_NAME'];
  return (
    option ??
    (fromEnvironment === undefined || fromEnvironment === ''
      ? DEFAULT_SANDBOX_NAME
      : fromEnvironment)
  );
}

/** The names of sandboxes that have a state folder, running or not. */
export function sandboxNames(): string[] {
  try {
    return readdirSync(stateHome()).sort();
  } catch {
    return [];
  }
}

/** The control API of one sandbox. Each call is a request of its own; there is nothing to close. */
export class Sandbox {
  readonly name: string;
  readonly paths: SandboxPaths;

  /** @throws {MeshError} ERR_SANDBOX_NAME. */
  constructor(name: string) {
    this.name = name;
    this.paths = sandboxPaths(stateFolder(name));
  }

  async status(signal?: AbortSignal): Promise<SandboxStatus> {
    return (await this.#json('GET', '/v1/status', {}, undefined, signal)) as SandboxStatus;
  }

  async wait(what: WaitGoal, timeoutMs: number, signal?: AbortSignal): Promise<WaitResult> {
    const query = { for: what, timeoutMs };
    return (await this.#json('GET', '/v1/wait', query, undefined, signal)) as WaitResult;
  }

  async objects(query: ObjectsQuery, signal?: AbortSignal): Promise<readonly KubernetesObject[]> {
    const answer = await this.#json('GET', '/v1/objects', { ...query }, undefined, signal);
    return (answer as ObjectList).items;
  }

  /** The answer to a POST, in the shape that api.ts gives it. */
  async post<Answer>(path: string, body: object): Promise<Answer> {
    return (await this.#json('POST', path, {}, body)) as Answer;
  }

  /** Events from now on, as long as they are read; ends with `signal` or the sandbox. */
  async *events(signal: AbortSignal): AsyncGenerator<SandboxEvent> {
    for await (const event of this.#jsonLines('/v1/events', {}, signal))
      yield event as SandboxEvent;
  }

  /** The objects of a kind, then what changes in them, their status included; ends with `signal` or the sandbox. */
  async *watch(kind: string, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    for await (const event of this.#jsonLines('/v1/watch', { kind }, signal))
      yield event as WatchEvent;
  }

  async *#jsonLines(path: string, query: Query, signal: AbortSignal): AsyncGenerator {
    const answer = await this.#open('GET', path, query, undefined, signal);
    let rest = '';
    for await (const chunk of answer.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as unknown;
    }
  }

  /** Hands on an answer's bytes as they come. */
  async stream(
    path: string,
    query: Query,
    onData: (chunk: Uint8Array) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const answer = await this.#open('GET', path, query, undefined, signal);
    for await (const chunk of answer as AsyncIterable<Buffer>) onData(chunk);
  }

  /** A connection of its own for exec and connect; the socket stays half-open until both ends have ended. */
  async upgrade(
    path: string,
    query: Query,
    protocol: string,
    signal: AbortSignal,
  ): Promise<Socket> {
    const headers = { connection: 'Upgrade', upgrade: protocol };
    const sent = this.#request('GET', path, query, headers, signal);
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    sent.on('upgrade', (_answer, socket: Socket, head: Buffer) => {
      socket.pause();
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    sent.on('response', (answer) => {
      this.#failure(answer).then(reject, reject);
    });
    sent.on('error', (error) => {
      reject(this.#explain(error));
    });
    sent.end();
    return promise;
  }

  async #json(
    method: string,
    path: string,
    query: Query,
    body?: object,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const answer = await this.#open(method, path, query, body, signal);
    return JSON.parse(await readText(answer)) as unknown;
  }

  /** @throws {MeshError} the API's own error, or ERR_NOT_RUNNING. */
  async #open(
    method: string,
    path: string,
    query: Query,
    body?: object,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = this.#request(method, path, query, headers, signal);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    sent.on('response', resolve);
    sent.on('error', (error) => {
      reject(this.#explain(error));
    });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const answer = await promise;
    if (answer.statusCode !== 200) throw await this.#failure(answer);
    return answer;
  }

  #request(
    method: string,
    path: string,
    query: Query,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): ClientRequest {
    const parameters = new URLSearchParams();
    for (const [key, value] of Object.entries(query))
      for (const one of Array.isArray(value) ? (value as readonly string[]) : [value])
        if (one !== undefined) parameters.append(key, String(one));
    const search = parameters.size === 0 ? '' : `?${parameters.toString()}`;
    return request({
      // Half-open: one end of an upgraded connection may go on sending after the other has ended.
      createConnection: () => connect({ path: this.paths.controlSocket, allowHalfOpen: true }),
      method,
      path: `${path}${search}`,
      headers,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async #failure(answer: IncomingMessage): Promise<MeshError> {
    const text = await readText(answer);
    try {
      const { error } = JSON.parse(text) as ErrorResponse;
      return new MeshError(error.code, 'local', error.message);
    } catch {
      const found = `status ${answer.statusCode ?? 0}, ${JSON.stringify(text.slice(0, 200))}`;
      return new MeshError(
        'ERR_SANDBOX_API',
        'local',
        `Cannot read the sandbox's answer: ${found}`,
      );
    }
  }

  /** What a failed connection to the control socket means. */
  #explain(error: NodeJS.ErrnoException): Error {
    if (error.name === 'AbortError') return error;
    const which = this.name === DEFAULT_SANDBOX_NAME ? '' : ` --name ${this.name}`;
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
      const crashed = existsSync(this.paths.supervisor)
        ? `it ended without being asked; clean up with: halo down${which}`
        : `start it with: halo up${which}`;
      return new MeshError(
        'ERR_NOT_RUNNING',
        'local',
        `Cannot reach sandbox "${this.name}": it is not running; ${crashed}`,
      );
    }
    if (error.code === 'EACCES')
      return new MeshError(
        'ERR_NOT_RUNNING',
        'local',
        `Cannot reach sandbox "${this.name}": it belongs to another user`,
      );
    return new MeshError('ERR_SANDBOX_API', 'local', `Cannot talk to sandbox "${this.name}"`, {
      cause: error,
    });
  }
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES)
      throw new MeshError('ERR_SANDBOX_API', 'local', 'Cannot read an answer of more than 256 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
