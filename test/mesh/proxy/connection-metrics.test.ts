import test from 'ava';
import { DEFAULT_TRUST_DOMAIN, makeSpiffeId } from '../../../mesh/model/identity.ts';
import { ConnectionMetrics, type Traffic } from '../../../mesh/proxy/connection-metrics.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import { formatMetrics } from '../../../mesh/runtime/metrics-text.ts';
import { testService, testWorkload } from './fixtures/workload.ts';

const trustDomain = DEFAULT_TRUST_DOMAIN;
const traffic: Traffic = {
  reporter: 'source',
  source: testWorkload('client', { locality: { region: 'r1', zone: 'z1', subzone: '' } }),
  destination: testWorkload('server'),
  service: testService('server'),
  sourceIdentity: makeSpiffeId({ trustDomain, namespace: 'apps', serviceAccount: 'client' }),
  destinationIdentity: makeSpiffeId({ trustDomain, namespace: 'apps', serviceAccount: 'server' }),
  mutualTls: true,
};

function open(): { metrics: ConnectionMetrics; samples: () => string[] } {
  const registry = new Metrics();
  const metrics = new ConnectionMetrics(registry);
  const samples = (): string[] =>
    formatMetrics(registry.snapshot(), 'prometheus')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
  return { metrics, samples };
}

test('every counter has the full label set', (t) => {
  const { metrics, samples } = open();
  metrics.open(traffic);
  t.is(
    samples()[0],
    'istio_tcp_connections_opened_total{reporter="source",source_workload="client-deployment",' +
      'source_canonical_service="client-app",source_canonical_revision="v1",' +
      'source_workload_namespace="apps",source_principal="spiffe://cluster.local/ns/apps/sa/client",' +
      'source_app="client-app",source_version="v1",source_cluster="Kubernetes",' +
      'destination_service="server.apps.svc.cluster.local",destination_service_namespace="apps",' +
      'destination_service_name="server",destination_workload="server-deployment",' +
      'destination_canonical_service="server-app",destination_canonical_revision="v1",' +
      'destination_workload_namespace="apps",' +
      'destination_principal="spiffe://cluster.local/ns/apps/sa/server",' +
      'destination_app="server-app",destination_version="v1",destination_cluster="Kubernetes",' +
      'request_protocol="tcp",response_flags="-",connection_security_policy="mutual_tls",' +
      'source_region="r1",source_zone="z1"} 1',
  );
});

test('ends that are not known are told as unknown', (t) => {
  const { metrics, samples } = open();
  metrics.open({ reporter: 'destination', mutualTls: false });
  const [sample = ''] = samples();
  t.regex(sample, /source_workload="unknown"/);
  t.regex(sample, /destination_principal="unknown"/);
  t.regex(sample, /connection_security_policy="unknown"\} 1$/);
  t.notRegex(sample, /region/);
});

test('a meter counts what is new, and its end once', (t) => {
  const { metrics, samples } = open();
  const meter = metrics.open(traffic);
  const other = metrics.open({ ...traffic, source: testWorkload('client', traffic.source) });
  meter.update(10, 100);
  meter.update(10, 100);
  meter.update(15, 1000);
  other.update(5, 0);
  meter.close();
  meter.close();
  const values = samples().map((line) => line.replace(/\{.*\}/, ''));
  t.deepEqual(values, [
    'istio_tcp_connections_opened_total 2',
    'istio_tcp_connections_closed_total 1',
    'istio_tcp_received_bytes_total 20',
    'istio_tcp_sent_bytes_total 1000',
  ]);
});

test('a failure is counted under its flag', (t) => {
  const { metrics, samples } = open();
  metrics.open(traffic).close('DENY');
  metrics.fail(traffic, 'TLS_FAILURE');
  const failed = samples().filter((line) => line.startsWith('istio_tcp_connections_failed_total'));
  t.deepEqual(
    failed.map((line) => /response_flags="(\w+)".* (\d+)$/.exec(line)?.slice(1)),
    [
      ['DENY', '1'],
      ['TLS_FAILURE', '1'],
    ],
  );
});
