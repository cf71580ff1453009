import test from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { formatClientCertificate } from '../../waypoint/client-certificate.ts';
import { Downstream } from '../../waypoint/downstream.ts';
import { remoteAddress } from '../../waypoint/remote-address.ts';
import { RequestHead } from '../../waypoint/request-head.ts';

const downstream = new Downstream({
  version: 'HTTP/1.1',
  remote: socketAddress('10.0.0.1', 4711),
  local: socketAddress('10.96.0.10', 80),
});
const GET = [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/'];

test('what only proxies may say is taken away, and the rest of what clients claim is kept (M1)', (t) => {
  const claimed = [
    ...['x-forwarded-client-cert', 'By=spiffe://a;URI=spiffe://b', 'x-envoy-retry-on', '5xx'],
    ...['x-envoy-external-address', '1.2.3.4', 'x-envoy-original-path', '/admin'],
  ];
  const kept = [
    ...['x-forwarded-proto', 'https', 'x-forwarded-host', 'other', 'forwarded', 'for=1.2.3.4'],
    ...['x-real-ip', '1.2.3.4', 'via', '1.1 x', 'x-envoyer', 'y'],
  ];
  const told = ['x-forwarded-for', '1.2.3.4', 'x-request-id', 'id'];
  const { list } = new RequestHead([...GET, ...claimed, ...kept, ...told], downstream);
  t.deepEqual(list, [...GET, ...kept, 'x-forwarded-for', '1.2.3.4,10.0.0.1', 'x-request-id', 'id']);
});

test('x-forwarded-for is one field, with who dialled us at its end', (t) => {
  const fields = ['x-forwarded-for', '1.1.1.1', 'a', 'b', 'x-forwarded-for', '2.2.2.2, 3.3.3.3'];
  const head = new RequestHead([...GET, ...fields], downstream);
  t.is(head.forwardedFor, '1.1.1.1,2.2.2.2, 3.3.3.3,10.0.0.1');
  t.is(head.list.filter((name) => name === 'x-forwarded-for').length, 1);
  t.is(new RequestHead(GET, downstream).forwardedFor, '10.0.0.1');
});

test('x-forwarded-client-cert has the pairs, order and quotes of Envoy', (t) => {
  const by = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/waypoint');
  const client = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client');
  t.is(formatClientCertificate(by, client), `By=${by};URI=${client}`);
});

test('the remote address is the one who dialled, unless proxies before us are trusted (A10)', (t) => {
  const peer = parseIpAddress('10.0.0.1');
  const told = '9.9.9.9, 1.1.1.1,2.2.2.2,10.0.0.1';
  t.is(remoteAddress(told, peer, 0), peer);
  t.is(remoteAddress(told, peer, 1), parseIpAddress('2.2.2.2'));
  t.is(remoteAddress(told, peer, 2), parseIpAddress('1.1.1.1'));
  t.is(remoteAddress(told, peer, 9), peer);
  t.is(remoteAddress('1.1.1.1, unknown,10.0.0.1', peer, 1), peer);
  t.is(remoteAddress('10.0.0.1', peer, 1), peer);
});
