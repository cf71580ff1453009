import { once } from 'node:events';
import http, { type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as pause } from 'node:timers/promises';
import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { WorkloadUid } from '../../mesh/model/workload.ts';
import { applyDelta, type MeshResource } from '../../mesh/proxy/state/apply.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { departedBy } from '../../waypoint/upstream/departed.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { placeOf } from '../../waypoint/upstream/target-backend.ts';
import { makeEndpoint } from '../support/endpoints.ts';
import { servePlainWaypoint } from '../support/plain-waypoint.ts';
import { UNLIMITED } from '../support/waypoint-requests.ts';
import { keyOf, makeService, makeWorkload, podUid } from '../support/workloads.ts';

const SERVICE = 'shop/web.shop.svc.cluster.local';
const WEB = { name: 'web-1', ips: ['10.0.0.1'], serves: { [SERVICE]: ['80:8080'] } };

const departs = test.macro({
  async exec(t, expected: boolean, after: readonly MeshResource[], removed: readonly string[]) {
    const state = new ProxyState();
    const service = makeService({ name: 'web' });
    state.setService(service);
    state.setWorkload(makeWorkload(WEB));
    const place = placeOf(makeEndpoint('web-1', { workload: WEB }), service);
    const delta = {
      type: 'address',
      resources: after.map((resource) => ({ name: nameOf(resource), decode: () => resource })),
      removed,
    } as const;
    const { changed, rejected } = await applyDelta(state, delta, pause);
    t.deepEqual(rejected, []);
    t.is(departedBy(changed, state)(place), expected);
  },
  title: (given = '') => `connections to an endpoint ${given}`,
});

function nameOf(resource: MeshResource): WorkloadUid | ServiceKey {
  if (resource.kind === 'workload') return resource.workload.uid;
  if (resource.kind === 'service') return keyOf(SERVICE);
  throw new Error('no address');
}

const workload = (fields: Partial<Parameters<typeof makeWorkload>[0]>): MeshResource => ({
  ...{ kind: 'workload', workload: makeWorkload({ ...WEB, ...fields }) },
});
const service = (subjectAltNames: readonly string[]): MeshResource => ({
  ...{ kind: 'service', service: makeService({ name: 'web', subjectAltNames }) },
});

test('end when its workload is gone', departs, true, [], [podUid('web-1')]);
test('end when its service is gone', departs, true, [], [SERVICE]);
test('end when it leaves the service', departs, true, [workload({ serves: {} })], []);
test('end when its address changes', departs, true, [workload({ ips: ['10.0.0.2'] })], []);
test('end when its identity changes', departs, true, [workload({ serviceAccount: 'other' })], []);
test(
  'end when it is reached in another way',
  departs,
  true,
  [workload({ tunnelProtocol: 'NONE' })],
  [],
);
test(
  'end when its service names other identities',
  ...([departs, true, [service(['spiffe://cluster.local/ns/shop/sa/other'])], []] as const),
);
test('stay when it is not healthy', departs, false, [workload({ healthy: false })], []);
test('stay when its weight changes', departs, false, [workload({ capacity: 2 })], []);
test('stay when its service is told again', departs, false, [service([])], []);
test(
  'stay when another endpoint comes',
  ...([departs, false, [workload({ name: 'web-2', ips: ['10.0.0.2'] })], []] as const),
);

test('idle connections to an endpoint that left are closed at once, running requests go on', async (t) => {
  const held = Promise.withResolvers<ServerResponse>();
  const sockets = new Map<string, Socket>();
  // Nothing ends for being idle.
  const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
    sockets.set(request.url ?? '', request.socket);
    if (request.url !== '/held') {
      response.end('idle');
      return;
    }
    response.write('first ');
    held.resolve(response);
  });
  t.teardown(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const waypoint = servePlainWaypoint(t, port);
  const ask = async (path: string): Promise<string> => {
    const request = http.get({ port: waypoint.port, path, agent: false });
    const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
    return await text(answer);
  };
  const running = ask('/held');
  const response = await held.promise;
  t.is(await ask('/idle'), 'idle');
  const [idle, busy] = ['/idle', '/held'].map((path) => sockets.get(path));
  if (idle === undefined || busy === undefined) throw new Error('not asked');
  t.not(idle, busy);
  t.is(waypoint.pool.size, 2);

  const idleClosed = once(idle, 'close');
  const removed = [podUid(`web-${port}`)];
  const delta = { type: 'address', resources: [], removed } as const;
  const { changed } = await applyDelta(waypoint.state, delta, pause);
  waypoint.targets.onChange(changed.services);
  waypoint.pool.retire(departedBy(changed, waypoint.state));
  await idleClosed;
  t.is(waypoint.pool.size, 1);
  t.false(busy.destroyed);

  const busyClosed = once(busy, 'close');
  response.end('last');
  t.is(await running, 'first last');
  await busyClosed;
  t.is(waypoint.pool.size, 0);
});

test('connections to an instance of the waypoint in front of a service stay while it is one', (t) => {
  const [web, waypoint] = [makeService({ name: 'web' }), makeService({ name: 'waypoint' })];
  const name = 'shop/waypoint.shop.svc.cluster.local';
  const instance = { ...WEB, name: 'waypoint-1', serves: { [name]: ['15008:15008'] } };
  const state = new ProxyState();
  for (const each of [web, waypoint]) state.setService(each);
  state.setWorkload(makeWorkload(instance));
  const address = { ip: parseIpAddress('10.96.0.1'), port: 80 };
  const through = { waypoint, authority: { kind: 'address', address } } as const;
  const endpoint = makeEndpoint('waypoint-1', { workload: instance });
  const place = placeOf(endpoint, web, undefined, through);
  const changed = {
    workloads: new Set<WorkloadUid>(),
    services: new Set([keyOf(SERVICE), keyOf(name)]),
  };
  t.false(departedBy(changed, state)(place));
  state.setWorkload(makeWorkload({ ...instance, serves: {} }));
  t.true(departedBy(changed, state)(place));
});

test('a new connection is dialled to the endpoint as it is known when it is asked for', async (t) => {
  const dialled: unknown[] = [];
  using pool = new UpstreamPool((endpoint) => {
    dialled.push(endpoint.service);
    return Promise.reject(new Error('nobody is there'));
  });
  const [before, after] = [makeService({ name: 'web' }), makeService({ name: 'web' })];
  for (const each of [before, after]) {
    const place = placeOf(makeEndpoint('web-1', { workload: WEB }), each);
    await new Promise<void>((resolve) => {
      pool.acquire(place, 'HTTP/1.1', UNLIMITED, {
        onConnection: () => undefined,
        onConnectFailure() {
          resolve();
        },
      });
    });
  }
  t.is(dialled[0], before);
  t.is(dialled[1], after);
});
