import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { HealthProbe } from '../../../mesh/model/backend-policy.ts';
import { connectHttp } from '../../../net/http/client.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { makeProbe } from '../../../waypoint/health/probe.ts';
import type { ProbeOutcome } from '../../../waypoint/health/checker.ts';
import { makeService, makeWorkload } from '../../support/workloads.ts';

const probe = makeProbe({
  connect: ({ address }, timeoutMs, signal) => connectTcp(address, { timeoutMs, signal }),
  dial: async ({ address }, version, events, timeoutMs, signal) =>
    connectHttp(
      await connectTcp(address, { timeoutMs, signal }),
      version === 'HTTP/2' ? 'http2' : 'http1',
      {},
      events,
    ),
});

async function ask(port: number, how: HealthProbe, timeoutMs = 2000): Promise<ProbeOutcome> {
  return await probe(
    {
      service: makeService({ name: 'web' }),
      workload: makeWorkload({ name: 'web-1', ips: ['127.0.0.1'], tunnelProtocol: 'NONE' }),
      ...{ port, protocol: undefined },
    },
    {
      ...{ intervalMs: 1000, timeoutMs, unhealthyThreshold: 1, healthyThreshold: 1 },
      probe: how,
    },
    new AbortController().signal,
  );
}

async function listen(t: ExecutionContext, server: net.Server): Promise<number> {
  // A check may leave by a reset.
  server.on('connection', (socket: net.Socket) => socket.on('error', () => undefined));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

const HTTP: HealthProbe = {
  ...{ kind: 'http', path: '/healthz?a=b', host: '' },
  statuses: [
    { start: 200, end: 200 },
    { start: 400, end: 404 },
  ],
};

test('an HTTP check asks for its path by the service’s name, and takes the statuses that are expected', async (t) => {
  const asked: string[] = [];
  let status = 200;
  const port = await listen(
    t,
    http.createServer(({ method, url, headers }, response) => {
      asked.push(`${method} ${url} ${headers.host}`);
      response.statusCode = status;
      response.end('x'.repeat(5000));
    }),
  );
  t.is((await ask(port, HTTP)).kind, 'passed');
  t.deepEqual(asked, ['GET /healthz?a=b web.shop.svc.cluster.local']);
  await ask(port, { ...HTTP, host: 'other.example.com' });
  t.is(asked[1], 'GET /healthz?a=b other.example.com');
  const outcomes: string[] = [];
  for (status of [404, 405, 201, 500, 503]) outcomes.push((await ask(port, HTTP)).kind);
  t.deepEqual(outcomes, ['passed', 'failed', 'failed', 'failed', 'refused']);
  t.is((await ask(port, HTTP)).reason, 'it answers 503');
});

test('who answers too late, not at all, or not in HTTP has failed', async (t) => {
  const silent = await listen(t, net.createServer());
  const late = await ask(silent, HTTP, 100);
  t.deepEqual(late, { kind: 'failed', reason: 'no answer within 100 ms' });
  const ending = await listen(
    t,
    net.createServer((socket) => socket.end()),
  );
  t.is((await ask(ending, HTTP)).kind, 'failed');
  const odd = await listen(
    t,
    net.createServer((socket) => socket.end('220 smtp\r\n')),
  );
  t.is((await ask(odd, HTTP)).kind, 'failed');
  const server = net.createServer();
  const gone = await listen(t, server);
  await new Promise((resolve) => server.close(resolve));
  t.is((await ask(gone, HTTP)).kind, 'failed');
  t.is((await ask(gone, { kind: 'tcp' })).kind, 'failed');
});

test('a TCP check asks for a connection alone', async (t) => {
  const port = await listen(t, net.createServer());
  t.is((await ask(port, { kind: 'tcp' })).kind, 'passed');
});

test('a gRPC check asks the health service, and takes SERVING alone', async (t) => {
  const asked: string[] = [];
  let [status, message] = ['0', '0000000002080' + '1'];
  const server = http2.createServer();
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      asked.push(
        `${headers[':method']} ${headers[':path']} ${Buffer.concat(chunks).toString('hex')}`,
      );
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc' },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'grpc-status': status });
      });
      stream.end(Buffer.from(message, 'hex'));
    });
  });
  const port = await listen(t, server);
  t.is((await ask(port, { kind: 'grpc', service: '' })).kind, 'passed');
  t.is((await ask(port, { kind: 'grpc', service: 'a.B' })).kind, 'passed');
  t.deepEqual(asked, [
    'POST /grpc.health.v1.Health/Check 0000000000',
    'POST /grpc.health.v1.Health/Check 00000000050a03612e42',
  ]);
  message = '00000000020802';
  t.is((await ask(port, { kind: 'grpc', service: '' })).reason, 'it is not serving');
  [status, message] = ['5', ''];
  t.is((await ask(port, { kind: 'grpc', service: '' })).reason, 'its gRPC status is 5');
});
