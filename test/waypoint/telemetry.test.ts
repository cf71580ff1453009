import test from 'ava';
import type { WorkloadDescription } from '../../mesh/model/workload.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import type { HttpRequest } from '../../waypoint/http-request.ts';
import { RequestLog } from '../../waypoint/request-log.ts';
import { RequestMetrics } from '../../waypoint/request-metrics.ts';
import { formatFlags, DC, UF, URX } from '../../waypoint/response-flags.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { closedPort, endpointAt, TestWaypoint } from '../support/waypoint-requests.ts';

const workload: WorkloadDescription = {
  ...{ name: 'echo-1', namespace: 'shop', clusterId: 'east', workloadName: 'echo' },
  ...{ canonicalName: 'echo', canonicalRevision: 'v2' },
  locality: { region: '', zone: '', subzone: '' },
};

test('formatFlags() is - for none, else Envoy’s letters', (t) => {
  t.is(formatFlags(0), '-');
  t.is(formatFlags(UF | URX), 'UF,URX');
  t.is(formatFlags(DC), 'DC');
});

test('a request is counted with Istio’s labels, and with its sizes and time', async (t) => {
  const metrics = new Metrics();
  const counting = new RequestMetrics(metrics);
  const upstream = serveH2(t, (stream) => {
    stream.respond([':status', '200', 'content-type', 'application/grpc', 'grpc-status', '5'], {
      endStream: true,
    });
  });
  const endpoint = {
    ...endpointAt(upstream.port),
    workload,
    identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/echo'),
  };
  const counted: HttpRequest[] = [];
  const waypoint = new TestWaypoint(t, [upstream.port], {
    parts: {
      onRequestEnd: (one) => {
        counting.count(one, undefined);
        counted.push(one);
      },
    },
  });
  waypoint.backend.chooseEndpoint = () => endpoint;
  const connection = await waypoint.connect(t);
  for (let count = 0; count < 3; count++) {
    const list = [...request('POST', '/a.B/C'), 'content-type', 'application/grpc'];
    const [, body] = openStream(connection, list);
    await body.write('12345');
    body.stream.end();
    await body.until((c) => c.ended);
  }
  const snapshot = metrics.snapshot();
  const [family] = snapshot.filter(({ name }) => name === 'istio_requests_total');
  if (family?.kind !== 'counter') throw new Error('no counter');
  t.is(family.series.length, 1);
  t.is(family.series[0]?.value, 3);
  const labels = Object.fromEntries(
    family.labelNames.map((name, index) => [name, family.series[0]?.labels[index]]),
  );
  t.like(labels, {
    ...{ reporter: 'waypoint', source_principal: 'spiffe://cluster.local/ns/shop/sa/client' },
    ...{ source_workload: 'unknown', destination_workload: 'echo', destination_version: 'v2' },
    ...{
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/echo',
      request_protocol: 'grpc',
    },
    ...{ response_code: '200', grpc_response_status: '5', response_flags: '-' },
    ...{ connection_security_policy: 'mutual_tls', destination_workload_namespace: 'shop' },
  });
  for (const name of ['istio_request_bytes', 'istio_response_bytes']) {
    const [sizes] = snapshot.filter((one) => one.name === name);
    if (sizes?.kind !== 'histogram') throw new Error('no histogram');
    const [series] = sizes.series;
    t.is(
      series?.counts.reduce((sum, count) => sum + count),
      3,
    );
    const isRequest = name === 'istio_request_bytes';
    const bytes = counted.map(({ head, responseHeaderBytes }) =>
      isRequest ? head.bytes + 5 : responseHeaderBytes,
    );
    t.is(
      series?.sum,
      bytes.reduce((sum, one) => sum + one),
    );
  }
});

test('a line of the log has Istio’s fields in their order, then ours; nothing of a client breaks out of it (M4)', async (t) => {
  const lines: string[] = [];
  const log = new RequestLog({
    write: (line) => lines.push(line),
    flush: () => undefined,
  });
  const waypoint = new TestWaypoint(t, [await closedPort()], {
    parts: {
      onRequestEnd: (one) => {
        one.policy = 'shop/only-web';
        log.write(one);
      },
    },
  });
  const connection = await waypoint.connect(t);
  const [, body] = openStream(connection, [
    ...request('POST', '/a?"b"=%0a'),
    ...['user-agent', 'x","response_code":200,"y":"\x9b', 'x-request-id', 'id-1'],
    ...['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
  ]);
  body.stream.end();
  await body.until((c) => c.ended);
  t.is(lines.length, 1);
  const [line = ''] = lines;
  t.regex(line, /^\{[^\n]*\}\n$/);
  t.false(line.includes('\x9b'));
  const fields = JSON.parse(line) as Record<string, unknown>;
  t.deepEqual(Object.keys(fields), [
    ...['start_time', 'route_name', 'method', 'path', 'protocol', 'response_code'],
    ...['response_flags', 'response_code_details', 'connection_termination_details'],
    ...['bytes_received', 'bytes_sent', 'duration', 'upstream_service_time', 'x_forwarded_for'],
    ...['user_agent', 'request_id', 'authority', 'upstream_host', 'upstream_cluster'],
    ...['upstream_local_address', 'downstream_local_address', 'downstream_remote_address'],
    ...['requested_server_name', 'upstream_transport_failure_reason', 'attempts', 'ejections'],
    ...['policy', 'trace_id'],
  ]);
  t.like(fields, {
    ...{ route_name: 'HTTPRoute/shop/echo/0', method: 'POST', path: '/a?"b"=%0a' },
    ...{ protocol: 'HTTP/2', response_code: 503, response_flags: 'UF,URX', attempts: 3 },
    ...{ upstream_service_time: null, x_forwarded_for: '10.0.0.7', request_id: 'id-1' },
    ...{ downstream_remote_address: '10.0.0.7:40001', downstream_local_address: '10.96.0.10:80' },
    ...{ ejections: 0, policy: 'shop/only-web', trace_id: '0af7651916cd43dd8448eb211c80319c' },
  });
  t.is(fields['user_agent'], 'x","response_code":200,"y":"\x9b');
});
