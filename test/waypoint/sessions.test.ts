import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { HttpBackend, HttpRule } from '../../mesh/model/http-route.ts';
import { DEFAULT_TRAFFIC_POLICY, type TrafficPolicy } from '../../mesh/model/traffic-policy.ts';
import { plainService, serveServices, type PlainWaypoint } from '../support/plain-waypoint.ts';

/** So many servers that say which one they are. */
async function serve(t: ExecutionContext, count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let index = 0; index < count; index++) {
    const server = http.createServer(({ headers }, response) => {
      response.setHeader('x-seen', headers['x-session'] ?? '');
      response.end(String((server.address() as net.AddressInfo).port));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    t.teardown(() => server.close());
    ports.push((server.address() as net.AddressInfo).port);
  }
  return ports;
}

function backend(name: string, weight = 1): HttpBackend {
  return { target: { service: plainService(name), port: 80 }, weight, filters: [] };
}

/** The first service has one rule, with a session, over these backends. */
function serveRule(
  t: ExecutionContext,
  services: Readonly<Record<string, readonly number[]>>,
  rule: Pick<HttpRule, 'backends' | 'sessionPersistence'> & Partial<HttpRule>,
  traffic: Partial<TrafficPolicy> = {},
): PlainWaypoint {
  const [first = ''] = Object.keys(services);
  const rules: readonly HttpRule[] = [
    { name: 'HTTPRoute/shop/web/0', matches: [], filters: [], ...rule },
  ];
  return serveServices(t, services, {
    configs: {
      [first]: {
        traffic: {
          ...{ service: plainService(first), ports: new Map(), subsets: [] },
          policy: { ...DEFAULT_TRAFFIC_POLICY, ...traffic },
        },
        routes: {
          service: plainService(first),
          producer: new Map([
            [80, { kind: 'http', routes: { choice: 'precedence', grpc: false, rules } }],
          ]),
          consumer: new Map(),
        },
      },
    },
  });
}

type Answer = Readonly<{ port: number; cookie: string | undefined; headers: Headers }>;

async function ask(
  { port }: PlainWaypoint,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers });
  const [cookie] = answer.headers.getSetCookie();
  return { port: Number(await answer.text()), cookie, headers: answer.headers };
}

function valueOf({ cookie }: Answer): string {
  return cookie?.split(';')[0] ?? '';
}

const COOKIE = { kind: 'cookie', name: 'sid', path: '/' } as const;

test('a cookie keeps a client at its endpoint, at every replica', async (t) => {
  const ports = await serve(t, 5);
  const rule = { backends: [backend('web')], sessionPersistence: COOKIE };
  const waypoint = serveRule(t, { web: ports }, rule);
  const replica = serveRule(t, { web: ports.toReversed() }, rule);
  const begun = await ask(waypoint);
  t.regex(begun.cookie ?? '', /^sid=[\w-]{30}; Path=\/; HttpOnly; SameSite=Strict$/);
  const cookie = `other=1; ${valueOf(begun)}`;
  for (let count = 0; count < 20; count++) {
    const again = await ask(count % 2 === 0 ? waypoint : replica, { cookie });
    t.is(again.port, begun.port);
    t.is(again.cookie, undefined, 'it has it already');
  }
  const others = new Set<number>();
  for (let count = 0; count < 40; count++) others.add((await ask(waypoint)).port);
  t.true(others.size > 1, 'who has none goes anywhere');
});

test('a token that a client made up is one for nobody', async (t) => {
  const ports = await serve(t, 3);
  const rule = { backends: [backend('web')], sessionPersistence: COOKIE };
  const waypoint = serveRule(t, { web: ports }, rule);
  const begun = valueOf(await ask(waypoint));
  for (const forged of ['x', '', 'A'.repeat(30), begun.slice(4, 33), `${begun.slice(4)}~`]) {
    const answer = await ask(waypoint, { cookie: `sid=${forged}` });
    t.true(ports.includes(answer.port));
    t.regex(answer.cookie ?? '', /^sid=/, 'it is given another one');
  }
});

test('an endpoint that is gone or may not be chosen ends its sessions, and the client is told', async (t) => {
  const ports = await serve(t, 3);
  const rule = { backends: [backend('web')], sessionPersistence: COOKIE };
  const waypoint = serveRule(t, { web: ports }, rule);
  const begun = await ask(waypoint);
  const target = waypoint.targets.backend({ service: plainService('web'), port: 80 }, 'HTTP/1.1');
  if ('problem' in target) throw new Error(target.reason);
  const [endpoint] = target.endpoints().filter(({ port }) => port === begun.port);
  endpoint?.state.setHealthy(false, 0);
  const moved = await ask(waypoint, { cookie: valueOf(begun) });
  t.not(moved.port, begun.port);
  t.not(valueOf(moved), valueOf(begun));
  t.is((await ask(waypoint, { cookie: valueOf(moved) })).port, moved.port);
});

test('a session goes before weights, also where its backend has none any more', async (t) => {
  const [main = 0, canary = 0] = await serve(t, 2);
  const services = { web: [main], canary: [canary] };
  const sessionPersistence = COOKIE;
  const before = serveRule(t, services, { backends: [backend('canary')], sessionPersistence });
  const cookie = valueOf(await ask(before));
  const backends = [backend('web', 1), backend('canary', 0)];
  const after = serveRule(t, services, { backends, sessionPersistence });
  t.is((await ask(after)).port, main);
  t.is((await ask(after, { cookie })).port, canary);
});

test('a session by header lasts its time, and a rule may keep the header from the application', async (t) => {
  const ports = await serve(t, 4);
  const waypoint = serveRule(
    t,
    { web: ports },
    {
      backends: [backend('web')],
      sessionPersistence: { kind: 'header', name: 'x-session', absoluteMs: 3_600_000 },
      filters: [{ kind: 'request-headers', changes: { set: [], add: [], remove: ['x-session'] } }],
    },
  );
  const begun = await ask(waypoint);
  const token = begun.headers.get('x-session') ?? '';
  const again = await ask(waypoint, { 'x-session': token });
  t.is(again.port, begun.port);
  t.is(again.headers.get('x-session'), null);
  t.is(again.headers.get('x-seen'), '');
  const old = `${token.slice(0, 30)}${(parseInt(token.slice(30), 36) - 3601).toString(36)}`;
  t.not((await ask(waypoint, { 'x-session': old })).headers.get('x-session'), null);
});

test('a session does not go past the TLS that its backend is to be reached by', async (t) => {
  const ports = await serve(t, 2);
  const rule = { backends: [backend('web')], sessionPersistence: COOKIE };
  const cookie = valueOf(await ask(serveRule(t, { web: ports }, rule)));
  const texts = { sni: '', roots: '', certificate: '', key: '', revocationLists: '' };
  const files = { rootsFile: '', certificateFile: '', keyFile: '', revocationListsFile: '' };
  const tls = { mode: 'simple', subjectAltNames: [], insecureSkipVerify: false } as const;
  const waypoint = serveRule(t, { web: ports }, rule, { tls: { ...tls, ...texts, ...files } });
  const answer = await fetch(`http://127.0.0.1:${waypoint.port}/`, { headers: { cookie } });
  t.is(answer.status, 503);
  t.regex(waypoint.requests[0]?.transportFailure ?? '', /TLS/);
});
