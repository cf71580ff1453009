import test from 'ava';
import { TestNode } from '../../support/ztunnel-pods.ts';

test('a connection between two pods goes by mTLS, with both identities and the client address', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  await app.write('ping');
  const { app: backend, peer } = await accepted;
  t.is(peer.ip, client.ip);
  await backend.until((c) => c.received === 4);
  t.is(backend.text, 'ping');
  await backend.write('pong!');
  await app.until((c) => c.received === 5);

  // Half-close goes through, one direction at a time.
  app.stream.end();
  await backend.until((c) => c.ended);
  await backend.write('after the end');
  await app.until((c) => c.received === 18);
  backend.stream.end();
  await app.until((c) => c.ended);

  const outbound = await node.ended('outbound');
  const inbound = await node.ended('inbound');
  const identities = {
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
    'dst.identity': 'spiffe://cluster.local/ns/shop/sa/server',
  };
  t.like(outbound, { ...identities, bytes_sent: 4, bytes_recv: 18, level: 'info' });
  t.like(inbound, { ...identities, bytes_sent: 18, bytes_recv: 4, level: 'info' });
  t.is(outbound['error'], undefined);
  t.is(outbound['dst.addr'], `${server.ip}:15008`);
  t.is(outbound['dst.hbone_addr'], `${server.ip}:8080`);
  for (const reporter of ['source', 'destination']) {
    const own = [`reporter="${reporter}"`, 'connection_security_policy="mutual_tls"'];
    t.is(node.metric('istio_tcp_connections_opened_total', ...own), 1);
    t.is(node.metric('istio_tcp_connections_closed_total', ...own), 1);
    t.is(node.metric('istio_tcp_received_bytes_total', ...own), 4);
    t.is(node.metric('istio_tcp_sent_bytes_total', ...own), 18);
    t.is(node.metric('istio_tcp_connections_failed_total', ...own), 0);
  }
  t.is(node.connections.size, 0);
  t.is(node.pool.size, 1);
});
