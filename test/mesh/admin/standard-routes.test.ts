import test from 'ava';
import {
  loggingRoute,
  metricsRoutes,
  quitRoute,
  readinessRoute,
} from '../../../mesh/admin/standard-routes.ts';
import type { AdminResponse, AdminRoute } from '../../../mesh/admin/server.ts';
import { formatLogLevels, parseLogLevels } from '../../../mesh/runtime/log.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import { Readiness } from '../../../mesh/runtime/readiness.ts';

async function ask(
  route: AdminRoute | undefined,
  query = '',
  accept = '',
): Promise<AdminResponse | undefined> {
  return await route?.handle({
    ...{ method: route.method, path: route.path, body: '' },
    ...{ query: new URLSearchParams(query), headers: { accept } },
  });
}

test('metrics of all threads are one page, in the form that is asked for', async (t) => {
  const threads = [1, 2].map((value) => {
    const metrics = new Metrics();
    metrics.counter('x_total', 'X').cell().value = value;
    return metrics.snapshot();
  });
  const [route, other] = metricsRoutes(() => threads);
  t.deepEqual([route?.path, other?.path], ['/metrics', '/stats/prometheus']);
  const plain = await ask(route);
  t.regex(plain?.body ?? '', /^x_total 3$/m);
  const open = await ask(route, '', 'application/openmetrics-text; version=1.0.0');
  t.regex(open?.contentType ?? '', /^application\/openmetrics-text/);
  t.regex(open?.body ?? '', /# EOF\n$/);
});

test('readiness is 500 with what is waited for, then 200', async (t) => {
  const readiness = new Readiness();
  const gate = readiness.gate('state manager');
  const route = readinessRoute(readiness, '/healthz/ready');
  t.like(await ask(route), { status: 500, body: 'not ready, pending: state manager\n' });
  gate.open();
  t.like(await ask(route), { status: 200, body: 'ready\n' });
});

test('log levels change by scope, in all, and back', async (t) => {
  const applied: string[] = [];
  const route = loggingRoute(parseLogLevels('info,access=off'), (levels) => {
    applied.push(formatLogLevels(levels));
  });
  await ask(route, 'level=dns=debug');
  await ask(route, '');
  await ask(route, 'level=warn');
  await ask(route, 'level=dns=trace&reset');
  const answer = await ask(route, 'reset');
  t.deepEqual(applied, [
    ...['info,access=off,dns=debug', 'info,access=off,dns=debug', 'warn'],
    ...['info,access=off,dns=trace', 'info,access=off'],
  ]);
  t.is(answer?.body, 'current log level is info,access=off\n');
  await t.throwsAsync(ask(route, 'level=loud'), { code: 'ERR_LOG_LEVEL' });
  t.is(applied.length, 5);
});

test('quitquitquit answers, then stops', async (t) => {
  const stopped = Promise.withResolvers<string>();
  const answer = await ask(quitRoute(stopped.resolve));
  t.is(answer?.body, 'shutdown now\n');
  t.is(await stopped.promise, 'quitquitquit');
});
