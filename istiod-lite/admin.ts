import { openAdminServer, jsonPage, textPage } from '../mesh/admin/server.ts';
import type { AdminListen, AdminRoute } from '../mesh/admin/server.ts';
import type { Log } from '../mesh/runtime/log.ts';
import {
  formatMetrics,
  METRICS_CONTENT_TYPES,
  metricsFormatFor,
} from '../mesh/runtime/metrics-text.ts';
import type { ControlPlane } from './app.ts';
import type { ControlPlaneConfig } from './config.ts';

/** The ports that were bound. */
export type AdminPorts = Readonly<{ http: number; ready: number }>;

/**
 * Serves readiness, metrics and the debug pages. Pages that show the whole configuration are on loopback and on the unix
 * socket alone; metrics and readiness may be asked for by anybody.
 */
export async function serveAdmin(
  config: ControlPlaneConfig,
  plane: ControlPlane,
  { log, stack }: Readonly<{ log: Log; stack: AsyncDisposableStack }>,
): Promise<AdminPorts> {
  const logger = log.scope('admin');
  const open: AdminRoute[] = [readyRoute(plane), metricsRoute(plane)];
  const routes = [...open, ...debugRoutes(plane), rotateRoute(plane)];
  const local: AdminListen[] = [{ kind: 'tcp', host: '127.0.0.1', port: config.httpPort }];
  if (config.adminUds !== undefined) local.push({ kind: 'unix', path: config.adminUds });
  const debug = stack.use(await openAdminServer({ listen: local, routes, logger }));
  const anywhere = stack.use(
    await openAdminServer({
      listen: [{ kind: 'tcp', host: '0.0.0.0', port: config.readyPort }],
      ...{ routes: open, logger, anyHost: true },
    }),
  );
  return { http: debug.addresses[0]?.port ?? 0, ready: anywhere.addresses[0]?.port ?? 0 };
}

function readyRoute({ readiness }: ControlPlane): AdminRoute {
  return {
    ...{ method: 'GET', path: '/ready', description: '200 when proxies are served' },
    handle: () =>
      textPage(`${readiness.describe()}\n`, readiness.pending().length === 0 ? 200 : 503),
  };
}

function metricsRoute({ metrics }: ControlPlane): AdminRoute {
  return {
    ...{ method: 'GET', path: '/metrics', description: 'Metrics for Prometheus' },
    handle: ({ headers }) => {
      const format = metricsFormatFor(headers.accept);
      const body = formatMetrics(metrics.snapshot(), format);
      return { contentType: METRICS_CONTENT_TYPES[format], body };
    },
  };
}

/** The steps of a change of root, with proxies' certificates renewed between them: both roots are trusted meanwhile. */
function rotateRoute({ ca }: ControlPlane): AdminRoute {
  return {
    ...{ method: 'POST', path: '/ca/rotate' },
    description: 'Changes the root in three steps: ?step=begin, then switch, then finish',
    handle: async ({ query }) => {
      const step = query.get('step');
      if (step !== 'begin' && step !== 'switch' && step !== 'finish')
        return jsonPage({ error: 'step must be begin, switch or finish' }, 400);
      if (ca.kind === 'plugged-in')
        return jsonPage({ error: 'the CA is plugged in: change its files instead' }, 409);
      await ca.rotate(step);
      return jsonPage({ step, rootsPem: ca.authority.rootsPem });
    },
  };
}

const DESCRIPTIONS: ReadonlyMap<string, string> = new Map([
  ['/debug/syncz', 'Proxies with the revision that each has acknowledged, and what it rejected'],
  ['/debug/ambientz', 'Workloads, services and policies as proxies get them'],
  ['/debug/snapshotz', 'Objects in force, with their conditions'],
  ['/debug/ca', 'Roots of the mesh, and when which step of their change is due'],
  ['/debug/errors', 'What is wrong in the configuration'],
  [
    '/debug/wait',
    'Waits until every proxy has ?revision=N, or all that is written; ?timeout=SECONDS',
  ],
]);

function debugRoutes({ pages }: ControlPlane): AdminRoute[] {
  return [...pages].map(([path, answer]) => ({
    ...{ method: 'GET', path, description: DESCRIPTIONS.get(path) ?? '' },
    handle: async ({ query }) => {
      const { status, value } = await answer(query);
      return jsonPage(value, status);
    },
  }));
}
