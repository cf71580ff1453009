import test from 'ava';
import { makeResource } from '../../support/scripted-xds.ts';
import { A, startDeltaClient } from '../../support/delta-client.ts';

const onDemand = { types: [{ typeUrl: A, onDemand: true }] };

test('an on-demand type begins by wanting nothing, and needs no response to be synced', async (t) => {
  const { server, client } = await startDeltaClient(t, onDemand);
  await client.synced;
  const stream = await server.stream();
  const request = await stream.request();
  t.deepEqual(request.resourceNamesSubscribe, ['*']);
  t.deepEqual(request.resourceNamesUnsubscribe, ['*']);
});

test('demand() settles when a response names the key, by name, by alias or as removed', async (t) => {
  const { server, client } = await startDeltaClient(t, onDemand);
  const stream = await server.stream();
  await stream.request();
  const { signal } = new AbortController();
  const byAlias = client.demand(A, 'n1/10.0.0.1', signal);
  const again = client.demand(A, 'n1/10.0.0.1', signal);
  const missing = client.demand(A, 'n1/10.0.0.2', signal);
  t.deepEqual((await stream.request()).resourceNamesSubscribe, ['n1/10.0.0.1']);
  t.deepEqual((await stream.request()).resourceNamesSubscribe, ['n1/10.0.0.2']);
  stream.respond({
    typeUrl: A,
    nonce: 'n',
    resources: [makeResource(A, 'uid-1', '1', Buffer.from('x'), ['n1/10.0.0.1'])],
    removedResources: ['n1/10.0.0.2'],
  });
  await Promise.all([byAlias, again, missing]);
  t.is((await stream.request()).responseNonce, 'n');
  await client.demand(A, 'n1/10.0.0.1', signal); // known by now
  t.is(client.status.resources.get(A), 1);
});

test('keys that were asked for survive a reconnect', async (t) => {
  const { server, client } = await startDeltaClient(t, onDemand);
  const first = await server.stream();
  await first.request();
  const { signal } = new AbortController();
  const held = client.demand(A, 'uid-1', signal);
  await first.request();
  first.respond({ typeUrl: A, nonce: 'n', resources: [makeResource(A, 'uid-1', '7')] });
  await held;
  await first.request();
  const pending = client.demand(A, 'uid-2', signal);
  await first.request();
  first.end();
  const second = await server.stream();
  const request = await second.request();
  t.deepEqual([...request.initialResourceVersions].sort(), [
    ['uid-1', '7'],
    ['uid-2', ''],
  ]);
  t.deepEqual(request.resourceNamesSubscribe.toSorted(), ['*', 'uid-1', 'uid-2']);
  second.respond({ typeUrl: A, nonce: 'm', removedResources: ['uid-2'] });
  await pending;
  t.pass();
});

test('demand() gives up with its signal, and asks nothing of a type that is not on demand', async (t) => {
  const { server, client } = await startDeltaClient(t, onDemand);
  await (await server.stream()).request();
  const impatient = new AbortController();
  const waiting = client.demand(A, 'uid-1', impatient.signal);
  impatient.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await t.throwsAsync(client.demand(A, 'uid-2', impatient.signal), { message: 'enough' });
  await client.demand('type.test/other', 'x', new AbortController().signal);
});

test('a released key is unsubscribed from at once, or when what it stood for is gone', async (t) => {
  const { server, client } = await startDeltaClient(t, onDemand);
  const stream = await server.stream();
  await stream.request();
  const { signal } = new AbortController();
  const asked = [client.demand(A, 'n/1', signal), client.demand(A, 'n/2', signal)];
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: '1',
    resources: [makeResource(A, 'uid-1', '1', Buffer.from('x'), ['n/1'])],
    removedResources: ['n/2'],
  });
  await Promise.all(asked);
  await stream.request();
  client.release(A, 'n/1');
  client.release(A, 'n/2');
  t.deepEqual((await stream.request()).resourceNamesUnsubscribe, ['n/2']);
  stream.respond({ typeUrl: A, nonce: '2', removedResources: ['uid-1'] });
  t.deepEqual((await stream.request()).resourceNamesUnsubscribe, ['n/1']);
  t.is(client.status.demanded, 0);
});
