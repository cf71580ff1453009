import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { policyKey } from '../../mesh/model/authorization.ts';
import {
  DEFAULT_ADAPTIVE_CONCURRENCY,
  type ServiceBackendPolicy,
} from '../../mesh/model/backend-policy.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  type ServiceTrafficPolicy,
  type TrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import { plainService, serveServices, type PlainWaypoint } from '../support/plain-waypoint.ts';

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function serve(t: ExecutionContext, handler: Handler): Promise<number> {
  const server = http.createServer(handler);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
}

const says =
  (text: string): Handler =>
  (_request, response) =>
    response.end(text);

/** Answers when it is told to. */
class Slow {
  readonly waiting: http.ServerResponse[] = [];
  readonly #wanted: (() => void)[] = [];
  readonly handler: Handler = (_request, response) => {
    this.waiting.push(response);
    for (const resolve of this.#wanted.splice(0)) resolve();
  };

  async until(count: number): Promise<void> {
    while (this.waiting.length < count)
      await new Promise<void>((resolve) => this.#wanted.push(resolve));
  }

  answer(): void {
    for (const response of this.waiting.splice(0)) response.end('slow');
  }
}

function policyThat(
  policy: Omit<ServiceBackendPolicy, 'service' | 'policy'>,
): ServiceBackendPolicy {
  return { service: plainService('web'), policy: policyKey('shop', 'web'), ...policy };
}

function traffic(policy: Partial<TrafficPolicy>): ServiceTrafficPolicy {
  return {
    ...{ service: plainService('web'), ports: new Map(), subsets: [] },
    policy: { ...DEFAULT_TRAFFIC_POLICY, ...policy },
  };
}

const ONE_REQUEST = {
  ...{ maxConnections: Infinity, maxPendingRequests: Infinity, maxRequests: 1 },
  ...{ maxRetries: Infinity, maxRequestsPerConnection: Infinity, maxConcurrentStreams: Infinity },
};
const FALLBACK = policyThat({ fallback: { service: plainService('spare'), port: 80 } });

type Asked = Readonly<{ status: number; body: string; headers: Headers }>;

async function ask({ port }: PlainWaypoint, init: RequestInit = {}): Promise<Asked> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, init);
  return { status: answer.status, body: await answer.text(), headers: answer.headers };
}

test('requests go to the fallback where a service has no endpoint, bodies included', async (t) => {
  const spare = await serve(t, (request, response) => {
    request.pipe(response);
  });
  const waypoint = serveServices(
    t,
    { web: [], spare: [spare] },
    {
      configs: { web: { backend: FALLBACK } },
    },
  );
  t.like(await ask(waypoint, { method: 'POST', body: 'kept' }), { status: 200, body: 'kept' });
  const [record] = waypoint.requests;
  t.regex(record?.backendName ?? '', /\|spare\.shop\./);
  t.is(formatFlags(record?.flags ?? -1), '-');
});

test('requests go to the fallback while the circuit breaker is open, and not after', async (t) => {
  const slow = new Slow();
  const web = await serve(t, slow.handler);
  const spare = await serve(t, says('spare'));
  const waypoint = serveServices(
    t,
    { web: [web], spare: [spare] },
    {
      configs: { web: { backend: FALLBACK, traffic: traffic({ circuitBreaker: ONE_REQUEST }) } },
    },
  );
  const first = ask(waypoint);
  await slow.until(1);
  t.is((await ask(waypoint)).body, 'spare');
  slow.answer();
  t.is((await first).body, 'slow');
  const third = ask(waypoint);
  await slow.until(1);
  slow.answer();
  t.is((await third).body, 'slow');
});

test('a fallback that has nobody either is answered for, once', async (t) => {
  const spare = policyThat({ fallback: { service: plainService('web'), port: 80 } });
  const waypoint = serveServices(
    t,
    { web: [], spare: [] },
    {
      configs: {
        web: { backend: FALLBACK },
        spare: { backend: { ...spare, service: plainService('spare') } },
      },
    },
  );
  t.like(await ask(waypoint), { status: 503, body: 'no healthy upstream' });
  t.is(waypoint.requests.length, 1);
  t.is(formatFlags(waypoint.requests[0]?.flags ?? 0), 'UH');
});

test('adaptive concurrency lets few requests through until it knows the ideal, and more when they are fast', async (t) => {
  const slow = new Slow();
  const web = await serve(t, (request, response) => {
    if (request.headers['x-fast'] === undefined) slow.handler(request, response);
    else response.end('fast');
  });
  const { minRtt } = DEFAULT_ADAPTIVE_CONCURRENCY;
  const adaptiveConcurrency = {
    ...DEFAULT_ADAPTIVE_CONCURRENCY,
    minRtt: { ...minRtt, minConcurrency: 2, requestCount: 5 },
  };
  const waypoint = serveServices(
    t,
    { web: [web] },
    {
      configs: { web: { backend: policyThat({ adaptiveConcurrency }) } },
    },
  );
  const under = [ask(waypoint), ask(waypoint)];
  await slow.until(2);
  const over = await ask(waypoint);
  t.like(over, { status: 503, body: 'reached concurrency limit' });
  t.is(over.headers.get('retry-after'), '1');
  t.is(waypoint.requests[0]?.details, 'reached_concurrency_limit');
  slow.answer();
  for (const each of under) t.is((await each).status, 200);
  for (let count = 0; count < 20; count++)
    t.is((await ask(waypoint, { headers: { 'x-fast': '1' } })).body, 'fast');
  const target = waypoint.targets.backend({ service: plainService('web'), port: 80 }, 'HTTP/1.1');
  t.false('problem' in target);
});

test('with hedging, a try that is over its time goes on beside the next, and the first answer counts', async (t) => {
  const slow = new Slow();
  const stuck = await serve(t, slow.handler);
  const waypoint = serveServices(
    t,
    { web: [stuck, await serve(t, says('good'))] },
    {
      configs: {
        web: {
          backend: policyThat({ retries: { hedges: true, perTryTimeoutMs: 20 } }),
          traffic: traffic({ balancer: { kind: 'round-robin' } }),
        },
      },
    },
  );
  const answers = await Promise.all([ask(waypoint), ask(waypoint)]);
  t.deepEqual(
    answers.map(({ body }) => body),
    ['good', 'good'],
  );
  t.is(slow.waiting.length, 1, 'one of them was at the slow one first');
  t.true(Math.max(...waypoint.requests.map(({ attempts }) => attempts)) >= 2);
});

test('what may not be done twice is not hedged where no route asks for retries', async (t) => {
  const slow = new Slow();
  const ports = [await serve(t, slow.handler), await serve(t, slow.handler)];
  const waypoint = serveServices(
    t,
    { web: ports },
    {
      configs: { web: { backend: policyThat({ retries: { hedges: true, perTryTimeoutMs: 20 } }) } },
    },
  );
  t.is((await ask(waypoint, { method: 'POST', body: 'x' })).status, 504);
  t.is(slow.waiting.length, 1);
});
