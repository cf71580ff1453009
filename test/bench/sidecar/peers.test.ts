import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { identityOf } from '../../../bench/ambient/application.ts';
import { connectionsToPeers } from '../../../bench/sidecar/program/outbound.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { acceptTls } from '../../../net/tls.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import type { UpstreamConnection } from '../../../waypoint/upstream/connection.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const LIMITS = {
  ...{ maxConnections: 1, maxPendingRequests: 1, maxRequestsPerConnection: 1 },
  ...{ connectTimeoutMs: 30_000, idleTimeoutMs: 30_000 },
};
const ca = makeTestCa();

function contextOf(account: string): TlsContext {
  const { chainPem, privateKeyPem } = ca.issue(identityOf(account));
  return new TlsContext({ chainPem, privateKeyPem, rootsPem: [ca.rootPem], alpn: ['http/1.1'] });
}

const connects = async (serverIs: string, expected: string): Promise<UpstreamConnection> => {
  using server = contextOf(serverIs);
  using client = contextOf('client');
  using stack = new DisposableStack();
  const ended = new AbortController();
  stack.defer(() => {
    ended.abort();
  });
  const ip = parseIpAddress('127.0.0.1');
  const listener = listenTcp({ address: { ip, port: 0 } }, (stream) => {
    void acceptTls(stream, server, { signal: ended.signal }).catch(() => undefined);
  });
  stack.defer(() => {
    listener.close();
  });
  const pool = stack.use(connectionsToPeers(client, ended.signal));
  const address = listener.local;
  const endpoint = {
    ...{ key: 'one', text: 'one', address, identity: parseSpiffeId(identityOf(expected)) },
  };
  return await new Promise((onConnection, onConnectFailure) => {
    pool.acquire(endpoint, 'HTTP/1.1', LIMITS, { onConnection, onConnectFailure });
  });
};

test('a sidecar sends to a pod that proves the account of its service', async (t) => {
  await t.notThrowsAsync(connects('web', 'web'));
});

test('a sidecar sends nothing to a pod that is of another account', async (t) => {
  const message = /found spiffe:\/\/\S+\/sa\/other, expected spiffe:\/\/\S+\/sa\/web$/;
  await t.throwsAsync(connects('other', 'web'), { code: 'ERR_PEER_IDENTITY', message });
});
