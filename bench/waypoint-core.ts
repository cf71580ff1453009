/**
 * What does one request through the waypoint's own code cost, HTTP/2 in and out, metrics and access log switched on?
 * Client, waypoint and server share this thread and speak over loopback; the same client asks the server directly, and
 * what is more on the way through the waypoint is its cost: processor time, in microseconds, medians of rounds.
 *
 *     node bench/waypoint-core.ts [--seconds 2] [--rounds 5] [--streams 64] [--body BYTES] [--json]
 */
import { openSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseIpAddress, socketAddress } from '../base/address.ts';
import type { HttpRule } from '../mesh/model/http-route.ts';
import { parseSpiffeId } from '../mesh/model/identity.ts';
import { openLineWriter } from '../mesh/runtime/log-writer.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { HEADROOM } from '../net/byte-stream.ts';
import { Http2Connection } from '../net/h2/connection.ts';
import { systemClock } from '../net/clock.ts';
import type { Http2Stream } from '../net/h2/stream.ts';
import { allocateShared } from '../net/shared-bytes.ts';
import { connectTcp } from '../net/tcp.ts';
import { listenTcp, type TcpListener } from '../net/tcp-listener.ts';
import type { Backend } from '../waypoint/backend.ts';
import { Downstream } from '../waypoint/downstream.ts';
import { RequestLog } from '../waypoint/request-log.ts';
import { RequestMetrics } from '../waypoint/request-metrics.ts';
import { DEFAULT_SETTINGS, type RequestParts } from '../waypoint/request-parts.ts';
import { serveRequest } from '../waypoint/request.ts';
import { Deadlines } from '../waypoint/timeout.ts';
import { UpstreamPool } from '../waypoint/upstream/pool.ts';
import { connectHttp2, endpointAt, UNLIMITED } from '../test/support/waypoint-requests.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    streams: { type: 'string', default: '64' },
    body: { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
  },
});
const roundMs = Number(values.seconds) * 1000;
const streams = Number(values.streams);
const bodyBytes = Number(values.body);
const payload = allocateShared(HEADROOM + Math.max(1, bodyBytes));

const local = { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } };
const HEAD = [
  ...[':method', 'GET', ':scheme', 'http', ':path', '/api/v1/items?page=3'],
  ...[':authority', 'echo.shop.svc.cluster.local', 'user-agent', 'bench/1.0', 'accept', '*/*'],
  ...['accept-encoding', 'gzip', 'x-request-id', '7f2c9f1a-3c4d-4e5f-8a9b-0c1d2e3f4a5b'],
];
const ANSWER = [
  ...[':status', '200', 'content-type', 'application/json', 'server', 'app'],
  ...['date', 'Thu, 01 Jan 2026 00:00:00 GMT', 'cache-control', 'no-store'],
];

function answer(stream: Http2Stream): void {
  stream.respond(ANSWER, { endStream: bodyBytes === 0 });
  if (bodyBytes === 0) return;
  let done = 0;
  const send = (): void => {
    done += stream.write(payload, HEADROOM, bodyBytes - done);
    if (done === bodyBytes) stream.end();
  };
  stream.setSink({
    capacity: () => 0,
    onData: () => 0,
    onEnd: () => undefined,
    onError: () => undefined,
    onWritable: send,
  });
  send();
}

function serve(
  onRequest: (stream: Http2Stream, headers: readonly string[], end: boolean) => void,
): TcpListener {
  return listenTcp(local, (transport) => {
    Http2Connection.server(transport, {}, { onRequest });
  });
}

const server = serve(answer);
const metrics = new RequestMetrics(new Metrics());
const log = new RequestLog(openLineWriter(openSync('/dev/null', 'w')));
const endpoint = endpointAt(server.local.port);
const backend: Backend = {
  name: 'inbound-vip|80|http|echo.shop.svc.cluster.local',
  version: 'HTTP/2',
  limits: UNLIMITED,
  service: undefined,
  retryPolicy: undefined,
  fallback: () => undefined,
  chooseEndpoint: () => endpoint,
  beginTry: () => undefined,
  endTry: () => undefined,
  judge: () => false,
  beginRetry: () => true,
  endRetry: () => undefined,
};
const rule: HttpRule = {
  ...{ name: 'HTTPRoute/shop/echo/0', matches: [], filters: [], backends: [], timeoutMs: 15_000 },
};
const choice = { kind: 'backend', backend } as const;
const parts: RequestParts = {
  settings: DEFAULT_SETTINGS,
  pool: new UpstreamPool((to, _version, events, timeoutMs) => connectHttp2(to, events, timeoutMs)),
  deadlines: new Deadlines(systemClock),
  random: Math.random,
  normalise: () => undefined,
  authorize: () => undefined,
  limitRate: () => undefined,
  findRule: () => rule,
  filterRequest: () => undefined,
  chooseBackend: () => choice,
  trace: () => undefined,
  mirror: () => undefined,
  filterResponse: (_request, list) => list,
  onFault: (error) => {
    throw error;
  },
  onRequestEnd(request) {
    metrics.count(request, undefined);
    log.write(request);
  },
};
const downstream = new Downstream({
  version: 'HTTP/2',
  remote: socketAddress('10.0.0.7', 40_001),
  local: socketAddress('10.96.0.10', 80),
  identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
});
const waypoint = serve((stream, headers, endStream) => {
  void serveRequest(stream, headers, endStream, downstream, parts);
});

/** Asks without a pause on so many streams; microseconds of processor time for each request. */
async function measure(port: number): Promise<number> {
  const connection = Http2Connection.client(
    await connectTcp(socketAddress('127.0.0.1', port)),
    {},
    {},
  );
  let requests = 0;
  let stopped = false;
  const ask = async (): Promise<void> => {
    while (!stopped) {
      await askOnce(connection);
      requests++;
    }
  };
  const before = process.cpuUsage();
  const asking = Array.from({ length: streams }, ask);
  await new Promise((resolve) => setTimeout(resolve, roundMs));
  const { user, system } = process.cpuUsage(before);
  const us = (user + system) / requests;
  stopped = true;
  await Promise.all(asking);
  connection.close();
  return us;
}

function askOnce(connection: Http2Connection): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = connection.openStream(HEAD, { onError: reject }, { endStream: true });
    stream?.setSink({
      capacity: () => 1 << 20,
      onData: (_bytes, _offset, length) => length,
      onEnd: resolve,
      onError: reject,
      onWritable: () => undefined,
    });
  });
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}

const direct: number[] = [];
const through: number[] = [];
for (let round = 0; round <= Number(values.rounds); round++) {
  const [without, with_] = [await measure(server.local.port), await measure(waypoint.local.port)];
  if (round === 0) continue; // warms up
  direct.push(without);
  through.push(with_);
}
const result = {
  streams,
  bodyBytes,
  directUs: median(direct),
  throughUs: median(through),
  waypointUs: median(through) - median(direct),
};
if (values.json) console.log(JSON.stringify(result));
else {
  console.log(`${streams} requests at a time, answers of ${bodyBytes} bytes; CPU per request`);
  console.log(`client and server      ${result.directUs.toFixed(1)} us`);
  console.log(`with the waypoint      ${result.throughUs.toFixed(1)} us`);
  console.log(`the waypoint           ${result.waypointUs.toFixed(1)} us`);
}
process.exit(0);
