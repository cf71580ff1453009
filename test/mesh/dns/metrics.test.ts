import test from 'ava';
import { decodeQuery } from '../../../mesh/dns/message.ts';
import { DnsMetrics } from '../../../mesh/dns/metrics.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import { formatMetrics } from '../../../mesh/runtime/metrics-text.ts';
import { testWorkload } from '../proxy/fixtures/workload.ts';
import { query } from './fixtures.ts';

test('requests are counted by type, protocol and client', (t) => {
  const registry = new Metrics();
  const metrics = new DnsMetrics(registry);
  const asked = decodeQuery(query('a', 28));
  const client = testWorkload('client');
  metrics.request(asked, 'udp', client);
  metrics.request(asked, 'udp', undefined);
  metrics.upstream(asked, 'udp', client, { failed: false, durationMs: 0.7 });
  metrics.upstream(asked, 'udp', client, { failed: true, durationMs: 5000 });
  const text = formatMetrics(registry.snapshot(), 'prometheus');
  const labels =
    '{request_query_type="AAAA",request_protocol="udp",' +
    'source_canonical_service="client-app",source_canonical_revision="v1"';
  t.true(text.includes(`istio_dns_requests_total${labels}} 1\n`));
  t.true(text.includes('source_canonical_service="unknown"'));
  t.true(text.includes(`istio_dns_upstream_requests_total${labels}} 2\n`));
  t.true(text.includes(`istio_dns_upstream_failures_total${labels}} 1\n`));
  const bucket = `istio_dns_upstream_request_duration_seconds_bucket${labels},le=`;
  t.true(text.includes(`${bucket}"0.0005"} 0\n`));
  t.true(text.includes(`${bucket}"0.001"} 1\n`));
  t.true(text.includes(`${bucket}"5"} 2\n`));
});

test('types without a name share one series (M4)', (t) => {
  const registry = new Metrics();
  const metrics = new DnsMetrics(registry);
  for (let type = 1000; type < 3000; type++)
    metrics.request(decodeQuery(query('a', type)), 'udp', undefined);
  const samples = formatMetrics(registry.snapshot(), 'prometheus').match(/^istio_dns_requests/gm);
  t.is(samples?.length, 1);
});
