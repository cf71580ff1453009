import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { socketAddress, type SocketAddress } from '../../base/address.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import type { Logger } from '../runtime/log.ts';
import { listenOnUnixSocket } from './unix-listen.ts';

export type AdminRequest = Readonly<{
  method: 'GET' | 'POST';
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** Of a POST; at most 64 KiB. */
  body: string;
}>;

export type AdminResponse = Readonly<{
  /** 200 unless told otherwise. */
  status?: number;
  contentType: string;
  body: string;
  /** In place of the body, what is told bit by bit until it ends or the client leaves: the signal says so. */
  stream?: (signal: AbortSignal) => AsyncIterable<string>;
}>;

export type AdminHandler = (request: AdminRequest) => AdminResponse | Promise<AdminResponse>;

/** A page, found by its exact path. */
export type AdminRoute = Readonly<{
  method: 'GET' | 'POST';
  path: string;
  /** For the index page. */
  description: string;
  handle: AdminHandler;
}>;

export type AdminListen = Readonly<
  /** `reusePort`: beside another process of our user that asks for it too, such as one that this one replaces. */
  | { kind: 'tcp'; host: string; port: number; reusePort?: boolean }
  /**
   * Reached by our own user alone, from every network namespace. `takeOver`: replaces a socket that another process
   * serves, when it settles; otherwise that is an error.
   */
  | { kind: 'unix'; path: string; takeOver?: Promise<unknown> }
>;

export type AdminServerOptions = Readonly<{
  listen: readonly AdminListen[];
  routes: readonly AdminRoute[];
  logger: Logger;
  /**
   * True for pages that may be reached under any name, as metrics and readiness are. Otherwise the Host must be a
   * loopback name, so that no web page can rebind its own name to us and read what we answer.
   */
  anyHost?: boolean;
}>;

export interface AdminServer extends AsyncDisposable {
  /** Of the TCP listeners, in their order. */
  readonly addresses: readonly SocketAddress[];
}

const MAX_BODY_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 128;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** Below it a compressed answer is hardly shorter. */
const MIN_GZIP_BYTES = 1024;

const gzipAsync = promisify(gzip);

/**
 * Serves pages over HTTP/1.1.
 *
 * @throws {Error} when one of the listeners cannot be had; none is left open then.
 */
export async function openAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  await using stack = new AsyncDisposableStack();
  const addresses: SocketAddress[] = [];
  for (const listen of options.listen) {
    const server = makeServer(options, listen.kind === 'tcp' && options.anyHost !== true);
    stack.defer(() => closeServer(server));
    if (listen.kind === 'unix') {
      await listenOnUnixSocket(server, listen.path, listen.takeOver);
      continue;
    }
    const { host, port, reusePort = false } = listen;
    server.listen({ host, port, reusePort });
    await once(server, 'listening');
    const bound = server.address();
    if (bound === null || typeof bound === 'string') continue;
    addresses.push(socketAddress(bound.address, bound.port));
  }
  const open = stack.move();
  return { addresses, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** A JSON page. */
export function jsonPage(value: unknown, status = 200): AdminResponse {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` };
}

export function textPage(body: string, status = 200): AdminResponse {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

function makeServer(options: AdminServerOptions, checkHost: boolean): Server {
  const server = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: HEADERS_TIMEOUT_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('request', (request, response) => {
    response.on('error', () => undefined); // the client went away; there is nobody to tell
    void answer(options, checkHost, request, response);
  });
  return server;
}

/** Never rejects. */
async function answer(
  options: AdminServerOptions,
  checkHost: boolean,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const page = await handle(options.routes, checkHost, request);
    await send(request, response, page);
  } catch (error) {
    options.logger.warn('page failed', { error: describeError(error) });
    if (response.headersSent) response.destroy();
    else await send(request, response, textPage(`${describeError(error)}\n`, statusOf(error)));
  }
}

async function handle(
  routes: readonly AdminRoute[],
  checkHost: boolean,
  request: IncomingMessage,
): Promise<AdminResponse> {
  if (checkHost && !isLoopbackHost(request.headers.host))
    return textPage('Only requests for localhost are answered here\n', 403);
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  // A page of another site may post a form to localhost, but its browser says where it comes from.
  if (method === 'POST' && request.headers.origin !== undefined)
    return textPage('Requests of web pages are not answered here\n', 403);
  const url = URL.parse(request.url ?? '', 'http://localhost');
  if (url === null) return textPage('This is no path\n', 400);
  const here = routes.filter((route) => route.path === url.pathname);
  if (here.length === 0 && url.pathname === '/') return textPage(indexOf(routes));
  if (here.length === 0) return textPage('No such page; / lists those there are\n', 404);
  const route = here.find((each) => each.method === method);
  if (route === undefined) {
    const allowed = here.map((each) => each.method).join(', ');
    return textPage(`This page is for ${allowed}\n`, 405);
  }
  const body = route.method === 'POST' ? await readBody(request) : '';
  const { headers } = request;
  const query = url.searchParams;
  return await route.handle({ method: route.method, path: url.pathname, query, headers, body });
}

async function send(
  request: IncomingMessage,
  response: ServerResponse,
  page: AdminResponse,
): Promise<void> {
  response.statusCode = page.status ?? 200;
  response.setHeader('content-type', page.contentType);
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  if (page.stream !== undefined) {
    await stream(response, page.stream);
    return;
  }
  response.setHeader('vary', 'accept, accept-encoding');
  let body = Buffer.from(page.body);
  if (body.length >= MIN_GZIP_BYTES && acceptsGzip(request.headers['accept-encoding'])) {
    body = await gzipAsync(body);
    response.setHeader('content-encoding', 'gzip');
  }
  response.setHeader('content-length', body.length);
  response.end(body);
}

async function stream(
  response: ServerResponse,
  tell: NonNullable<AdminResponse['stream']>,
): Promise<void> {
  const left = new AbortController();
  response.on('close', () => {
    left.abort();
  });
  response.flushHeaders();
  try {
    for await (const text of tell(left.signal)) {
      if (left.signal.aborted) return;
      if (!response.write(text)) await once(response, 'drain', { signal: left.signal });
    }
    response.end();
  } catch (error) {
    if (!left.signal.aborted) throw error;
  }
}

/** RFC 9110 section 12.5.3; a weight of zero means no. */
function acceptsGzip(header: string | string[] | undefined): boolean {
  const codings = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',');
  return codings.some((coding) => {
    const [name = '', ...parameters] = coding.split(';').map((part) => part.trim().toLowerCase());
    const refused = parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
    return (name === 'gzip' || name === '*') && !refused;
  });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > MAX_BODY_BYTES)
      throw new MeshError(
        'ERR_ADMIN_BODY',
        'downstream',
        `Cannot read more than ${MAX_BODY_BYTES}`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function statusOf(error: unknown): number {
  return error instanceof MeshError && error.side === 'downstream' ? 400 : 500;
}

/** `localhost`, or a loopback address, with or without a port. */
function isLoopbackHost(host: string | undefined): boolean {
  const [, name = ''] =
    /^(localhost|\[[0-9a-f:.]+\]|[0-9.]+)(?::\d{1,5})?$/i.exec(host ?? '') ?? [];
  const bare = name.replace(/^\[|\]$/g, '');
  return (
    bare.toLowerCase() === 'localhost' ||
    bare === '::1' ||
    (isIP(bare) === 4 && bare.startsWith('127.'))
  );
}

function indexOf(routes: readonly AdminRoute[]): string {
  const width = Math.max(0, ...routes.map((route) => route.path.length));
  return routes
    .map(
      ({ method, path, description }) =>
        `${method.padEnd(4)} ${path.padEnd(width)}  ${description}\n`,
    )
    .join('');
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
