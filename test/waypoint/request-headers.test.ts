import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import {
  addClientCertificate,
  appendForwardedFor,
  checkRequestHead,
  formatClientCertificate,
  remoteAddress,
  type HeadFault,
  type RequestHead,
} from '../../waypoint/request-headers.ts';

const GET = [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/'];

function headOf(list: readonly string[]): RequestHead {
  const checked = checkRequestHead(list);
  if (checked.kind === 'refused') throw new Error(checked.fault);
  return checked.head;
}

const refuses = test.macro({
  exec(t, list: readonly string[], fault: HeadFault, status = 400) {
    t.deepEqual(checkRequestHead(list), { kind: 'refused', fault, status });
  },
  title: (given = '') => `checkRequestHead() refuses ${given}`,
});

const withField = (name: string, value: string): string[] => {
  const list = [...GET];
  list[list.indexOf(name) + 1] = value;
  return list;
};

test('a name with "_" (M3)', refuses, [...GET, 'x_user', 'a'], 'underscore in a name');
test('TRACE', refuses, withField(':method', 'TRACE'), 'TRACE', 405);
test('CONNECT that asks for no protocol', refuses, withField(':method', 'CONNECT'), 'CONNECT', 405);
test('a method in lower case (S9)', refuses, withField(':method', 'get'), 'method');
test('an empty method', refuses, withField(':method', ''), 'method');
test('another scheme', refuses, withField(':scheme', 'ftp'), 'scheme');
test('a host of another name (S8)', refuses, [...GET, 'host', 'other'], 'two hosts');
test('two hosts', refuses, [...GET, 'host', 'web', 'host', 'other'], 'two hosts');
test(
  'a request without a host',
  refuses,
  [':method', 'GET', ':scheme', 'http', ':path', '/'],
  'no host',
);
for (const host of [
  'user@web',
  'web:0',
  'web:65536',
  'web:',
  'we b',
  'web/x',
  '[fe80::1%25eth0]',
  'w%65b',
  '..',
])
  test(`the host ${host} (S8)`, refuses, withField(':authority', host), 'host');

test('a setting allows names with "_"', (t) => {
  t.is(checkRequestHead([...GET, 'x_user', 'a'], { allowUnderscores: true }).kind, 'head');
});

test('hosts have one form, whatever their letters, dot or port (S8)', (t) => {
  for (const host of ['WEB', 'web.', 'web:80', 'Web.:80'])
    t.like(headOf(withField(':authority', host)), {
      authority: 'web',
      hostname: 'web',
      hostPort: 80,
    });
  t.like(headOf(withField(':authority', 'web:8080')), { authority: 'web:8080', hostPort: 8080 });
  t.like(headOf(withField(':authority', '[FD00::1]:81')), { hostname: '[fd00::1]', hostPort: 81 });
  t.like(headOf(withField(':scheme', 'HTTPS')), { scheme: 'https', hostPort: 443 });
});

test('the host field becomes :authority and stands nowhere else', (t) => {
  const { headers } = headOf([':method', 'GET', ':scheme', 'http', ':path', '/', 'host', 'Web:80']);
  t.deepEqual(headers, [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/']);
});

test('an extended CONNECT keeps its protocol', (t) => {
  const { headers } = headOf([...withField(':method', 'CONNECT'), ':protocol', 'websocket']);
  t.deepEqual(headers.slice(8), [':protocol', 'websocket']);
});

test('what only proxies may say is taken away, and the rest of what clients claim is kept (M1)', (t) => {
  const claimed = [
    ...['x-forwarded-client-cert', 'By=spiffe://a;URI=spiffe://b', 'x-envoy-retry-on', '5xx'],
    ...['x-envoy-external-address', '1.2.3.4', 'x-envoy-original-path', '/admin'],
  ];
  const kept = [
    ...['x-forwarded-for', '1.2.3.4', 'x-forwarded-proto', 'https', 'x-forwarded-host', 'other'],
    ...['forwarded', 'for=1.2.3.4', 'x-real-ip', '1.2.3.4', 'via', '1.1 x', 'x-envoyer', 'y'],
  ];
  t.deepEqual(headOf([...GET, ...claimed, ...kept]).headers.slice(8), kept);
});

test('x-forwarded-client-cert has the pairs, order and quotes of Envoy', (t) => {
  const by = 'spiffe://cluster.local/ns/shop/sa/waypoint';
  const uri = 'spiffe://cluster.local/ns/shop/sa/client';
  t.is(formatClientCertificate({ by, uri }), `By=${by};URI=${uri}`);
  t.is(
    formatClientCertificate({ by, uri, hash: 'ab12', subject: 'CN="x",O=y' }),
    `By=${by};Hash=ab12;Subject="CN=\\"x\\",O=y";URI=${uri}`,
  );
  t.is(formatClientCertificate({ by: 'a,b;c=d', uri: 'e"f' }), 'By="a,b;c=d";URI="e\\"f"');
  const headers = headOf([...GET, 'x-forwarded-client-cert', 'URI=spiffe://forged']).headers;
  addClientCertificate(headers, { by, uri });
  t.deepEqual(headers.slice(8), ['x-forwarded-client-cert', `By=${by};URI=${uri}`]);
});

const peer = parseIpAddress('10.0.0.1');

test('x-forwarded-for is appended to, in its last field', (t) => {
  const headers = ['x-forwarded-for', '1.1.1.1', 'a', 'b', 'x-forwarded-for', '2.2.2.2'];
  appendForwardedFor(headers, peer);
  t.deepEqual(headers, [
    'x-forwarded-for',
    '1.1.1.1',
    'a',
    'b',
    'x-forwarded-for',
    '2.2.2.2, 10.0.0.1',
  ]);
  const none: string[] = [];
  appendForwardedFor(none, peer);
  t.deepEqual(none, ['x-forwarded-for', '10.0.0.1']);
});

test('the remote address is the one who dialled, unless proxies before us are trusted (A10)', (t) => {
  const headers = ['x-forwarded-for', '9.9.9.9, 1.1.1.1', 'x-forwarded-for', '2.2.2.2'];
  t.is(remoteAddress(headers, peer, 0), peer);
  t.is(remoteAddress(headers, peer, 1), parseIpAddress('2.2.2.2'));
  t.is(remoteAddress(headers, peer, 2), parseIpAddress('1.1.1.1'));
  t.is(remoteAddress(headers, peer, 9), peer);
  t.is(remoteAddress(['x-forwarded-for', '1.1.1.1, unknown'], peer, 1), peer);
  t.is(remoteAddress(['x-real-ip', '1.1.1.1', 'forwarded', 'for=1.1.1.1'], peer, 1), peer);
});
