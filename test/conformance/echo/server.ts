import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import { hostname } from 'node:os';
import { Server as GrpcServer, ServerCredentials, type handleUnaryCall } from '@grpc/grpc-js';
import { GRPC_METHOD, type Echo, type Fields } from './messages.ts';

/** Longer than a test waits for anything. */
const MAX_DELAY_MS = 60_000;

const me = { pod: hostname(), namespace: process.env['POD_NAMESPACE'] ?? '' };

export type EchoPorts = Readonly<{
  http: number;
  https: number;
  tcp: number;
  grpc: number;
  /** Files with the chain and the key for `https`. */
  certificate: string;
  key: string;
}>;

/** Serves all ports until it is told to end. */
export async function serveEcho(ports: EchoPorts): Promise<void> {
  const identity = { cert: readFileSync(ports.certificate), key: readFileSync(ports.key) };
  const plain = createServer((request, response) => {
    answer('HTTP', request, response);
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
  const grpc = await serveGrpc(ports.grpc);
  plain.listen(ports.http);
  secure.listen(ports.https);
  tcp.listen(ports.tcp);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      for (const server of [plain, secure] satisfies Server[]) server.closeAllConnections();
      for (const server of [plain, secure, tcp]) server.close();
      grpc.forceShutdown();
    });
}

function answer(
  protocol: Echo['protocol'],
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { url: path = '', method = '', rawHeaders } = request;
  const headers: Fields = rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name, rawHeaders[index + 1] ?? ''] as const] : [],
  );
  const host = request.headers.host ?? '';
  const echo: Echo = { protocol, ...me, path, method, host, headers };
  const query = new URLSearchParams(path.split('?')[1]);
  const delayMs = Math.min(MAX_DELAY_MS, Number(query.get('delay')) || 0);
  request.resume();
  request.once('end', () => {
    setTimeout(() => {
      response.writeHead(Number(query.get('responseCode')) || 200, {
        'content-type': 'application/json',
      });
      response.end(JSON.stringify(echo));
    }, delayMs);
  });
}

async function serveGrpc(port: number): Promise<GrpcServer> {
  const echo: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    const fields = Object.entries(call.metadata.toHttp2Headers());
    const headers = fields.flatMap(([name, value]) =>
      [value ?? []].flat().map((each) => [name, String(each)] as const),
    );
    const said = { ...me, path: GRPC_METHOD, method: 'POST', host: call.getHost(), headers };
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
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  server.bindAsync(`[::]:${port}`, ServerCredentials.createInsecure(), (error) => {
    if (error === null) resolve(undefined);
    else reject(error);
  });
  await promise;
  return server;
}
