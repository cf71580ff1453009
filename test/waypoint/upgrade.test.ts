import test from 'ava';
import { findHeader } from '../../net/h2/headers.ts';
import { isUpgradeGranted, upgradeRequest, upgradeResponse } from '../../waypoint/upgrade.ts';

const asked1 = [
  ...[
    ':method',
    'GET',
    ':scheme',
    'http',
    ':authority',
    'x',
    ':path',
    '/',
    ':protocol',
    'websocket',
  ],
  ...['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version', '13'],
];
const asked2 = [
  ...[':method', 'CONNECT', ':scheme', 'http', ':authority', 'x', ':path', '/'],
  ...[':protocol', 'websocket', 'sec-websocket-version', '13'],
];

test('a WebSocket from HTTP/1.1 to HTTP/2 is CONNECT, and the client gets its proof. RFC 6455 section 1.3', (t) => {
  const { list, terms } = upgradeRequest(asked1, 'HTTP/1.1', 'HTTP/2');
  t.deepEqual(list, asked2);
  const response = [':status', '200', 'x-app', '1'];
  t.true(isUpgradeGranted(terms, response));
  t.deepEqual(upgradeResponse(terms, response), [
    ...[':status', '101', 'x-app', '1'],
    ...['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
  ]);
});

test('a WebSocket from HTTP/2 to HTTP/1.1 is GET with a new key, whose proof is checked', (t) => {
  const { list, terms } = upgradeRequest(asked2, 'HTTP/2', 'HTTP/1.1');
  t.is(findHeader(list, ':method'), 'GET');
  t.is(Buffer.from(findHeader(list, 'sec-websocket-key') ?? '', 'base64').length, 16);
  t.false(isUpgradeGranted(terms, [':status', '200']));
  t.true(isUpgradeGranted(terms, [':status', '101']));
  t.is(upgradeResponse(terms, [':status', '101', 'sec-websocket-accept', 'wrong']), undefined);
  t.is(upgradeResponse(terms, [':status', '101']), undefined);
  const known = { ...terms, websocketKey: 'dGhlIHNhbXBsZSBub25jZQ==' };
  const proof = ['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='];
  t.deepEqual(upgradeResponse(known, [':status', '101', ...proof]), [':status', '200']);
});

test('between equal versions a WebSocket is left as it is', (t) => {
  t.is(upgradeRequest(asked1, 'HTTP/1.1', 'HTTP/1.1').list, asked1);
  const { list, terms } = upgradeRequest(asked2, 'HTTP/2', 'HTTP/2');
  t.is(list, asked2);
  const response = [':status', '200'];
  t.is(upgradeResponse(terms, response), response);
});
