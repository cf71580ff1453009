import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Cluster } from './cluster.ts';
import {
  BYTES_PROTOCOL,
  EXEC_PROTOCOL,
  type ApplyRequest,
  type DeleteRequest,
  type ImageMap,
  type KubernetesObject,
  type KillRequest,
  type LabelRequest,
  type ObjectList,
  type PartRequest,
  type RestartRequest,
  type SandboxEvent,
  type SandboxPaths,
  type SandboxStatus,
  type ScaleRequest,
  type SupervisorFile,
  type WaitResult,
  type WatchEvent,
} from './api.ts';
import {
  apiError,
  errorBody,
  MAX_BACKLOG_BYTES,
  openLines,
  readJson,
  sendError,
  sendJson,
  statusOfError,
} from './control-http.ts';
import { serveConnect } from './control-streams.ts';
import { isRecord } from './documents.ts';
import { serveExec } from './exec-session.ts';
import { resolveKind } from './kinds.ts';
import { MeshStatus, statusKey } from './mesh-status.ts';
import { findPart, type Part } from './parts.ts';
import { parseSelectorText } from './selector.ts';
import type { LogFile } from './log-file.ts';

const MAX_WAIT_MS = 3_600_000;

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => unknown;

/** What the control API acts on. */
export type ControlledSandbox = Readonly<{
  paths: SandboxPaths;
  cluster: Cluster;
  parts: readonly Part[];
  status: SandboxStatus;
  unsettled(): string[];
  unenrolled(): string[];
  onEvent(listener: (event: SandboxEvent) => void): () => void;
  onCheck(look: () => void): () => void;
  label(request: LabelRequest): KubernetesObject;
  scale(request: ScaleRequest): KubernetesObject;
  restart(request: RestartRequest): KubernetesObject;
  kill(request: KillRequest): Promise<object>;
  stop(): Promise<void>;
}>;

/**
 * Serves the control API of api.ts on the unix socket of the state folder, until the process ends; who may open the
 * folder may do all of it.
 */
export async function serveControl(sandbox: ControlledSandbox): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const { server } = new ControlServer(sandbox);
  server.once('error', reject);
  server.listen(sandbox.paths.controlSocket, () => {
    resolve(undefined);
  });
  await promise;
}

class ControlServer {
  readonly #sandbox: ControlledSandbox;
  readonly server: Server;
  readonly #handlers: ReadonlyMap<string, Handler>;
  readonly #meshStatus: MeshStatus;

  constructor(sandbox: ControlledSandbox) {
    this.#sandbox = sandbox;
    this.#meshStatus = new MeshStatus(sandbox.paths.statusObjects);
    const { cluster } = sandbox;
    this.#handlers = new Map<string, Handler>([
      ['GET /v1/status', () => this.#status()],
      ['GET /v1/wait', (_request, response, url) => this.#wait(url, response)],
      ['GET /v1/objects', (_request, _response, url) => this.#objects(url)],
      [
        'GET /v1/watch',
        (_request, response, url) => {
          this.#watch(response, url);
        },
      ],
      [
        'GET /v1/events',
        (_request, response) => {
          this.#events(response);
        },
      ],
      [
        'GET /v1/logs',
        (_request, response, url) => {
          this.#logs(response, url);
        },
      ],
      ['GET /v1/images', () => Object.fromEntries(cluster.images)],
      [
        'POST /v1/images',
        async (request) => this.#setImages((await readJson(request)) as ImageMap),
      ],
      [
        'POST /v1/apply',
        async (request) => cluster.apply((await readJson(request)) as ApplyRequest),
      ],
      [
        'POST /v1/delete',
        async (request) => cluster.delete((await readJson(request)) as DeleteRequest),
      ],
      [
        'POST /v1/label',
        async (request) => sandbox.label((await readJson(request)) as LabelRequest),
      ],
      [
        'POST /v1/scale',
        async (request) => sandbox.scale((await readJson(request)) as ScaleRequest),
      ],
      [
        'POST /v1/restart',
        async (request) => sandbox.restart((await readJson(request)) as RestartRequest),
      ],
      ['POST /v1/kill', async (request) => sandbox.kill((await readJson(request)) as KillRequest)],
      [
        'POST /v1/parts',
        async (request) => this.#actOnPart((await readJson(request)) as PartRequest),
      ],
      ['POST /v1/stop', (_request, response) => this.#stop(response)],
    ]);
    this.server = createServer((request, response) => void this.#serve(request, response));
    this.server.on('upgrade', (request, socket: Socket, head: Buffer) => {
      socket.on('error', () => undefined); // the caller has gone
      void this.#upgrade(request, socket, head);
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined); // the caller has gone
    const url = new URL(request.url ?? '/', 'http://sandbox');
    const handler = this.#handlers.get(`${request.method ?? ''} ${url.pathname}`);
    try {
      if (handler === undefined)
        throw apiError('ERR_NOT_FOUND', `Cannot serve ${request.method ?? ''} ${url.pathname}`);
      const answer = await handler(request, response, url);
      // Who was answered may ask istiod-lite for it, which reads files.
      if (request.method === 'POST') this.#sandbox.cluster.store.flush();
      if (answer !== undefined) sendJson(response, 200, answer);
    } catch (error) {
      sendError(response, error);
    }
  }

  async #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://sandbox');
    const protocol = request.headers.upgrade;
    try {
      if (url.pathname === '/v1/exec' && protocol === EXEC_PROTOCOL)
        serveExec(this.#sandbox.cluster, url.searchParams, socket, head);
      else if (url.pathname === '/v1/connect' && protocol === BYTES_PROTOCOL)
        await serveConnect(this.#sandbox.cluster, url.searchParams, socket, head);
      else throw apiError('ERR_NOT_FOUND', `Cannot upgrade ${url.pathname} to ${protocol ?? ''}`);
    } catch (error) {
      const text = JSON.stringify(errorBody(error));
      const lines = [
        `HTTP/1.1 ${statusOfError(error)} Refused`,
        'content-type: application/json',
        `content-length: ${Buffer.byteLength(text)}`,
        'connection: close',
      ];
      socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`);
    }
  }

  #status(): SandboxStatus {
    let supervisorPid = 0;
    try {
      const text = readFileSync(this.#sandbox.paths.supervisor, 'utf8');
      supervisorPid = (JSON.parse(text) as SupervisorFile).pid;
    } catch {
      // The launcher has not written it yet.
    }
    return { ...this.#sandbox.status, supervisorPid };
  }

  #wait(url: URL, response: ServerResponse): Promise<WaitResult> {
    const goal = url.searchParams.get('for') ?? 'settled';
    const timeoutMs = Math.min(MAX_WAIT_MS, Number(url.searchParams.get('timeoutMs') ?? 60_000));
    const sandbox = this.#sandbox;
    const look = (): WaitResult => {
      const unsettled =
        goal === 'ready'
          ? sandbox.parts
              .filter((part) => part.status.state !== 'ready')
              .map(({ status }) => `${status.name} is ${status.state}: ${status.detail ?? ''}`)
          : goal === 'enrolled'
            ? sandbox.unenrolled()
            : sandbox.unsettled();
      return { done: unsettled.length === 0, unsettled };
    };
    const first = look();
    if (first.done) return Promise.resolve(first);
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        stop();
        resolve(look());
      };
      const timer = setTimeout(end, timeoutMs);
      const stop = sandbox.onCheck(() => {
        if (look().done) end();
      });
      response.on('close', () => {
        clearTimeout(timer);
        stop();
      });
    });
  }

  #objects(url: URL): ObjectList {
    const query = url.searchParams;
    const kind = resolveKind(query.get('kind') ?? '');
    const matches = parseSelectorText(query.get('selector') ?? '');
    const name = query.get('name');
    const items = this.#sandbox.cluster.store
      .list(kind, query.get('namespace') ?? undefined)
      .filter((object) => name === null || object.metadata.name === name)
      .filter((object) => matches(object.metadata.labels))
      .sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
    return { items: this.#meshStatus.addTo(items) };
  }

  #watch(response: ServerResponse, url: URL): void {
    const kinds = new Set(url.searchParams.getAll('kind').map(resolveKind));
    const node = url.searchParams.get('node');
    const wanted = (event: Exclude<WatchEvent, { type: 'BOOKMARK' }>): boolean => {
      if (!kinds.has(event.object.kind)) return false;
      if (node === null || event.object.kind !== 'Pod') return true;
      const { spec } = event.object;
      return isRecord(spec) && spec['nodeName'] === node;
    };
    const { store } = this.#sandbox.cluster;
    const lines = openLines(response);
    const write = (event: Exclude<WatchEvent, { type: 'BOOKMARK' }>): void => {
      if (wanted(event)) lines({ ...event, object: this.#meshStatus.addKnown(event.object) });
    };
    for (const kind of kinds)
      for (const object of store.list(kind)) write({ type: 'ADDED', object });
    lines({ type: 'BOOKMARK' } satisfies WatchEvent);
    const stops = [
      store.onChange(write),
      this.#meshStatus.onChange((changed) => {
        for (const kind of kinds)
          for (const object of store.list(kind))
            if (changed.has(statusKey(object))) write({ type: 'MODIFIED', object });
      }),
    ];
    response.on('close', () => {
      for (const stop of stops) stop();
    });
  }

  #events(response: ServerResponse): void {
    const sandbox = this.#sandbox;
    const write = openLines(response);
    for (const part of sandbox.parts)
      write({ type: 'part', part: part.status } satisfies SandboxEvent);
    for (const message of sandbox.status.problems) write({ type: 'problem', message });
    response.on('close', sandbox.onEvent(write));
  }

  #logs(response: ServerResponse, url: URL): void {
    const query = url.searchParams;
    const log = this.#findLog(query);
    const tail = query.get('tail');
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    const text = log.read(tail === null ? undefined : Number(tail));
    if (query.get('follow') !== 'true') {
      response.end(text);
      return;
    }
    response.write(text);
    response.flushHeaders();
    const stop = log.follow((chunk) => {
      if (response.writableLength < MAX_BACKLOG_BYTES) response.write(chunk);
      else response.destroy();
    });
    response.on('close', stop);
  }

  #findLog(query: URLSearchParams): LogFile {
    const part = query.get('part');
    if (part !== null) return findPart(this.#sandbox.parts, part).log;
    const namespace = query.get('namespace') ?? 'default';
    const pod = query.get('pod') ?? '';
    const { cluster } = this.#sandbox;
    cluster.store.mustGet({ kind: 'Pod', namespace, name: pod });
    const container = query.get('container') ?? undefined;
    const log = cluster.pods.runner(namespace, pod)?.log(container);
    if (log !== undefined) return log;
    throw apiError(
      'ERR_NOT_FOUND',
      `Cannot read the log of ${namespace}/${pod}: container ${container ?? ''} has not begun`,
    );
  }

  #setImages(images: ImageMap): ImageMap {
    const { cluster } = this.#sandbox;
    for (const [name, command] of Object.entries(images)) cluster.images.set(name, command);
    return Object.fromEntries(cluster.images);
  }

  async #actOnPart(request: PartRequest): Promise<unknown> {
    const part = findPart(this.#sandbox.parts, request.name);
    await part.act(request.action);
    return part.status;
  }

  async #stop(response: ServerResponse): Promise<void> {
    await this.#sandbox.stop();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    response.on('close', () => {
      resolve(undefined);
    });
    sendJson(response, 200, {});
    await promise;
    process.exit(0);
  }
}

function keyOf(object: { metadata: { namespace?: string; name: string } }): string {
  return `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}
