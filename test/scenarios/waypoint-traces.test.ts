import { join } from 'node:path';
import test from 'ava';
import { curlIn } from '../support/mesh-curl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';

const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
/** Says which trace it was told that it is in. */
const SERVER = `require('node:http').createServer((request, response) => {
  response.end(request.headers.traceparent ?? '');
}).listen(8080)`;

const COLLECTOR = `---
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: tools}
spec: {selector: {app: collector}, ports: [{name: otlp, port: 4318}, {name: spans, port: 8080}]}
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('tools', {}),
    podYaml('client', { node: 'node-1' }),
    serverPodYaml('web', { program: SERVER }),
    serverPodYaml('collector', {
      namespace: 'tools',
      command: [...NODE, join(import.meta.dirname, '../support/otlp-collector-program.ts')],
    }),
    waypointYaml('waypoint'),
    waypointServiceYaml('web'),
    COLLECTOR,
  ].join(''),
  settings: {
    partEnvironment: {
      waypoint: {
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector.tools:4318',
        PILOT_TRACE_SAMPLING: '100',
      },
    },
  },
});

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

const curl = curlIn(mesh, 'shop/client');

type Span = Readonly<{
  traceId: string;
  spanId: string;
  parentId: string;
  name: string;
  attributes: Readonly<Record<string, string>>;
  resource: Readonly<Record<string, string>>;
}>;

/** The spans of a trace, as soon as the collector has one. */
async function spansOf(traceId: string): Promise<readonly Span[]> {
  for (;;) {
    const spans = JSON.parse(await curl('http://collector.tools:8080/')) as Span[];
    const found = spans.filter((span) => span.traceId === traceId);
    if (found.length > 0) return found;
  }
}

/** Trace, span and flags of a traceparent. */
function parts(traceparent: string): readonly string[] {
  return traceparent.split('-').slice(1);
}

test.serial(
  'client, waypoint and server are in one trace, each the parent of the next',
  async (t) => {
    const [traceId, clientSpan] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
    const told = await curl(
      '-H',
      `traceparent: 00-${traceId}-${clientSpan}-01`,
      'http://web.shop/a?b=c',
    );
    const spans = await spansOf(traceId);
    t.is(spans.length, 1);
    const [span] = spans;
    t.like(span, {
      ...{ traceId, parentId: clientSpan, name: 'web.shop.svc.cluster.local:80/*' },
      resource: { 'service.name': 'waypoint.shop' },
      attributes: {
        ...{ 'http.method': 'GET', 'http.status_code': '200', 'istio.source_workload': 'client' },
        ...{ 'istio.destination_workload': 'web', 'http.url': 'http://web.shop/a?b=c' },
      },
    });
    t.deepEqual(parts(told), [traceId, span?.spanId, '01'], 'the server is told of the waypoint');
  },
);

test.serial('a trace that begins at the waypoint has its span as the root', async (t) => {
  const [traceId = '', spanId, flags] = parts(await curl('http://web.shop/'));
  t.is(flags, '01');
  const [span] = await spansOf(traceId);
  t.like(span, { traceId, spanId, parentId: '' });
});

test.serial('of a trace that the client does not sample, there are no spans', async (t) => {
  const unsampled = '00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b8-00';
  t.is(await curl('-H', `traceparent: ${unsampled}`, 'http://web.shop/'), unsampled);
  // One that comes after it has come.
  const [traceId = ''] = parts(await curl('http://web.shop/'));
  await spansOf(traceId);
  const spans = JSON.parse(await curl('http://collector.tools:8080/')) as Span[];
  t.deepEqual(
    spans.filter((span) => unsampled.includes(span.traceId)),
    [],
  );
});
