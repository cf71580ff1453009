import { describeError } from '../../base/errors.ts';
import type { HealthCheck, HealthProbe } from '../../mesh/model/backend-policy.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import type { HttpClientConnection } from '../../net/http/exchange.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { EndpointState } from '../endpoint-state.ts';
import type { ConnectionEvents } from '../upstream/connection.ts';
import type { UpstreamVersion } from '../upstream/endpoint-pool.ts';
import { placeOf, type TargetEndpoint } from '../upstream/target-backend.ts';
import type { Probe, ProbeOutcome, Probed } from './checker.ts';
import { askOnce, type OneAnswer } from './one-exchange.ts';

/** How endpoints are reached: the way that requests take. */
export type ProbeWays = Readonly<{
  /** A connection that bytes go through. @throws {MeshError} when there is none in time. */
  connect: (
    endpoint: TargetEndpoint,
    timeoutMs: number,
    signal: AbortSignal,
  ) => Promise<ByteStream>;
  /** The same, with HTTP on it. */
  dial: (
    endpoint: TargetEndpoint,
    version: UpstreamVersion,
    events: ConnectionEvents,
    timeoutMs: number,
    signal: AbortSignal,
  ) => Promise<HttpClientConnection>;
}>;

const PASSED: ProbeOutcome = { kind: 'passed', reason: 'it is well' };

/** Each check has a connection of its own, inside of a session that is kept: a server that accepts no more is found out, too. */
export function makeProbe(ways: ProbeWays): Probe {
  return async (probed, check, cancelled) => {
    const { timeoutMs } = check;
    const signal = AbortSignal.any([cancelled, AbortSignal.timeout(timeoutMs)]);
    try {
      return await ask(ways, probed, check, signal);
    } catch (error) {
      const late = signal.aborted && !cancelled.aborted;
      const reason = late ? `no answer within ${timeoutMs} ms` : describeError(error);
      return { kind: 'failed', reason };
    }
  };
}

async function ask(
  ways: ProbeWays,
  probed: Probed,
  { probe, timeoutMs }: HealthCheck,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const endpoint = endpointOf(probed);
  if (probe.kind === 'tcp') {
    const stream = await ways.connect(endpoint, timeoutMs, signal);
    stream.reset();
    return PASSED;
  }
  const version = versionFor(probed, probe);
  let onClose: (error?: Error) => void = () => undefined;
  const events: ConnectionEvents = {
    onAvailable: () => undefined,
    onClose(error) {
      onClose(error);
    },
  };
  const connection = await ways.dial(endpoint, version, events, timeoutMs, signal);
  try {
    const answer = await askOnce(connection, requestFor(probed, probe), signal, (told) => {
      onClose = told;
    });
    return probe.kind === 'http' ? judgeHttp(probe, answer) : judgeGrpc(answer);
  } finally {
    connection.close();
  }
}

function endpointOf({ workload, port, service, tls }: Probed): TargetEndpoint {
  const key = `${workload.uid}:${port}`;
  const state = new EndpointState(key, 0);
  const endpoint = { workload, port, weight: 1, labels: new Map(), hashKey: key, state };
  return placeOf(endpoint, service, tls);
}

function versionFor({ protocol }: Probed, probe: HealthProbe): UpstreamVersion {
  if (probe.kind === 'grpc') return 'HTTP/2';
  return protocol === 'HTTP2' || protocol === 'GRPC' ? 'HTTP/2' : 'HTTP/1.1';
}

const AGENT = ['user-agent', 'halo-health-check'] as const;

function requestFor(
  { service }: Probed,
  probe: Exclude<HealthProbe, { kind: 'tcp' }>,
): Readonly<{ headers: HeaderList; body: Buffer | undefined }> {
  const to = (method: string, host: string, path: string): string[] => [
    ...[':method', method, ':scheme', 'http', ':authority', host, ':path', path],
  ];
  if (probe.kind === 'http') {
    const host = probe.host === '' ? service.hostname : probe.host;
    return { headers: [...to('GET', host, probe.path), ...AGENT], body: undefined };
  }
  const headers = [
    ...to('POST', service.hostname, '/grpc.health.v1.Health/Check'),
    ...['content-type', 'application/grpc', 'te', 'trailers'],
    ...AGENT,
  ];
  return { headers, body: healthCheckRequest(probe.service) };
}

/** A message of gRPC with HealthCheckRequest { string service = 1 } in it. */
function healthCheckRequest(service: string): Buffer {
  const name = Buffer.from(service);
  // The schema bounds the name to what a varint of two bytes counts.
  const length =
    name.length < 0x80 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >> 7];
  const message = name.length === 0 ? name : Buffer.from([0x0a, ...length, ...name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function judgeHttp(
  { statuses }: Extract<HealthProbe, { kind: 'http' }>,
  { headers }: OneAnswer,
): ProbeOutcome {
  const status = Number(headers[1]);
  if (statuses.some(({ start, end }) => status >= start && status <= end)) return PASSED;
  return { kind: status === 503 ? 'refused' : 'failed', reason: `it answers ${status}` };
}

/** HealthCheckResponse { ServingStatus status = 1 }, of which 1 is SERVING. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 1]);

function judgeGrpc({ headers, trailers, body }: OneAnswer): ProbeOutcome {
  const failed = (reason: string): ProbeOutcome => ({ kind: 'failed', reason });
  if (headers[1] !== '200') return failed(`it answers ${headers[1] ?? ''}`);
  const status = findHeader(trailers, 'grpc-status') ?? findHeader(headers, 'grpc-status');
  if (status !== '0') return failed(`its gRPC status is ${status ?? 'none'}`);
  return body.equals(SERVING) ? PASSED : failed('it is not serving');
}
