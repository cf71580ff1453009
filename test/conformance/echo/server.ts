import { readFileSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import { createServer as createHttp2Server } from 'node:http2';
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Duplex } from 'node:stream';
import { Server as GrpcServer, ServerCredentials, type handleUnaryCall } from '@grpc/grpc-js';
import { resetSocket } from '../../../base/reset-socket.ts';
import { GRPC_METHOD, OTHER_GRPC_METHODS, type Echo, type Fields } from './messages.ts';

/** Longer than a test waits for anything. */
const MAX_DELAY_MS = 60_000;

const me = { pod: hostname(), namespace: process.env['POD_NAMESPACE'] ?? '' };

export type EchoPorts = Readonly<{
  http: number;
  https: number;
  tcp: number;
  h2c: number;
  udp: number;
  grpc: number;
  /** gRPC in TLS. */
  grpcs: number;
  /** Files with the chain and the key for `https` and `grpcs`. */
  certificate: string;
  key: string;
}>;

/** Serves all ports until it is told to end. */
export async function serveEcho(ports: EchoPorts): Promise<void> {
  const identity = { cert: readFileSync(ports.certificate), key: readFileSync(ports.key) };
  const plain = createServer((request, response) => {
    answer('HTTP', request, response);
  });
  plain.on('upgrade', serveWebSocket);
  const h2c = createHttp2Server((request, response) => {
    const { url: path, method, rawHeaders } = request;
    const host = request.authority;
    const headers = fieldsOf(rawHeaders);
    response.end(JSON.stringify({ protocol: 'H2C', ...me, path, method, host, headers }));
  });
  const secure = createSecureServer(identity, (request, response) => {
    answer('HTTPS', request, response);
  });
  const tcp = createTcpServer((socket) => {
    socket.on('error', () => undefined); // the client has gone
    socket.once('data', () => {
      const echo: Echo = { protocol: 'TCP', ...me, path: '', method: '', host: '', headers: [] };
      socket.end(`${JSON.stringify(echo)}\n`);
    });
  });
  const udp = createSocket('udp4', (_message, from) => {
    const echo: Echo = { protocol: 'UDP', ...me, path: '', method: '', host: '', headers: [] };
    udp.send(JSON.stringify(echo), from.port, from.address);
  });
  udp.bind(ports.udp);
  const { cert, key } = identity;
  const inTls = ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]);
  const grpc = await serveGrpc(
    [ports.grpc, ServerCredentials.createInsecure()],
    [ports.grpcs, inTls],
  );
  plain.listen(ports.http);
  secure.listen(ports.https);
  tcp.listen(ports.tcp);
  h2c.listen(ports.h2c);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      for (const server of [plain, secure] satisfies Server[]) server.closeAllConnections();
      for (const server of [plain, secure, tcp, h2c]) server.close();
      udp.close();
      grpc.forceShutdown();
    });
}

function answer(
  protocol: Echo['protocol'],
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { url: path = '', method = '', rawHeaders } = request;
  const headers = fieldsOf(rawHeaders);
  const host = request.headers.host ?? '';
  const echo: Echo = { protocol, ...me, path, method, host, headers };
  const query = new URLSearchParams(path.split('?')[1]);
  if (query.has('seen')) {
    response.end(JSON.stringify(seenWith(query.get('seen') ?? '')));
    return;
  }
  remember(echo);
  const isGood = triesOf(query) >= (Number(query.get('succeedAfter')) || 1);
  if (!isGood && query.has('reset')) {
    resetSocket(request.socket);
    return;
  }
  const fails = !query.has('succeedAfter') || !isGood;
  const delayMs = fails ? Math.min(MAX_DELAY_MS, Number(query.get('delay')) || 0) : 0;
  const status = fails ? Number(query.get('responseCode')) || 200 : 200;
  request.resume();
  request.once('end', () => {
    setTimeout(() => {
      for (const [name, value] of headers)
        if (name.toLowerCase() === 'x-echo-set-header') {
          const [field = '', text = ''] = value.split(':');
          response.setHeader(field, text);
        }
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(echo));
    }, delayMs);
  });
}

function fieldsOf(rawHeaders: readonly string[]): Fields {
  return rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name, rawHeaders[index + 1] ?? ''] as const] : [],
  );
}

/** How often a request with this `uuid` has come, this time included. */
const tries = new Map<string, number>();

function triesOf(query: URLSearchParams): number {
  const uuid = query.get('uuid') ?? '';
  const count = (tries.get(uuid) ?? 0) + 1;
  tries.set(uuid, count);
  return count;
}

/** The last requests, for those who ask what has come here. */
const lately: Echo[] = [];
const REMEMBERED = 4000;

function remember(echo: Echo): void {
  lately.push(echo);
  if (lately.length > REMEMBERED) lately.shift();
}

/** The requests that had the header `x-mark` with this value. */
function seenWith(mark: string): readonly Echo[] {
  return lately.filter(({ headers }) =>
    headers.some(([name, value]) => name.toLowerCase() === 'x-mark' && value === mark),
  );
}

/** A WebSocket: each message comes back as it was, text or bytes of less than 126. RFC 6455 section 5.2. */
function serveWebSocket(request: IncomingMessage, socket: Duplex): void {
  const key = `${request.headers['sec-websocket-key'] ?? ''}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.on('error', () => undefined); // the client has gone
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n' +
      `sec-websocket-accept: ${accept}\r\n\r\n`,
  );
  let waiting = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 6) {
      const length = (waiting[1] ?? 0) & 0x7f;
      if (waiting.length < 6 + length) return;
      const mask = waiting.subarray(2, 6);
      const payload = waiting.subarray(6, 6 + length).map((byte, at) => byte ^ (mask[at % 4] ?? 0));
      const head = Buffer.from([waiting[0] ?? 0, length]);
      const isClose = ((waiting[0] ?? 0) & 0x0f) === 8;
      waiting = waiting.subarray(6 + length);
      socket.write(Buffer.concat([head, payload]));
      if (isClose) socket.end();
    }
  });
}

async function serveGrpc(
  ...ports: readonly (readonly [port: number, credentials: ServerCredentials])[]
): Promise<GrpcServer> {
  const echo: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const fields = Object.entries(call.metadata.toHttp2Headers());
    const headers = fields.flatMap(([name, value]) =>
      [value ?? []].flat().map((each) => [name, String(each)] as const),
    );
    const said = { ...me, path: call.getPath(), method: 'POST', host: call.getHost(), headers };
    callback(null, Buffer.from(JSON.stringify({ protocol: 'gRPC', ...said } satisfies Echo)));
  };
  const bytes = (message: Buffer): Buffer => message;
  const codec = {
    ...{ requestSerialize: bytes, requestDeserialize: bytes },
    ...{ responseSerialize: bytes, responseDeserialize: bytes },
  };
  const method = { path: GRPC_METHOD, requestStream: false, responseStream: false, ...codec };
  const server = new GrpcServer();
  server.addService({ echo: method }, { echo });
  for (const name of OTHER_GRPC_METHODS)
    server.addService({ echo: { ...method, path: GRPC_METHOD.replace(/Echo$/, name) } }, { echo });
  for (const [port, credentials] of ports) {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    server.bindAsync(`[::]:${port}`, credentials, (error) => {
      if (error === null) resolve(undefined);
      else reject(error);
    });
    await promise;
  }
  return server;
}
