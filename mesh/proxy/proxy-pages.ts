import type { Json } from '../admin/config-dump.ts';
import { profileRoutes } from '../admin/profile-routes.ts';
import { jsonPage, type AdminRoute } from '../admin/server.ts';
import {
  loggingRoute,
  metricsRoutes,
  quitRoute,
  readinessRoute,
} from '../admin/standard-routes.ts';
import type { Log, LogLevels } from '../runtime/log.ts';
import type { Metrics, MetricsSnapshot } from '../runtime/metrics.ts';
import type { Readiness } from '../runtime/readiness.ts';
import { profiledThreads, type ProfiledThreads } from './thread-profiles.ts';

/** What data threads are asked for by the pages of every proxy. */
export type PageCalls = {
  metrics: { request: null; response: MetricsSnapshot };
  logLevels: { request: LogLevels; response: null };
};

type PageThreads = ProfiledThreads &
  Readonly<{
    callAll<Name extends keyof PageCalls>(
      name: Name,
      request: PageCalls[Name]['request'],
    ): Promise<readonly PageCalls[Name]['response'][]>;
  }>;

/** What the pages of every proxy are made from. */
export type ProxyPageParts = Readonly<{
  log: Log;
  metrics: Metrics;
  readiness: Readiness;
  threads: PageThreads;
  /** Of the stream to the control plane. */
  xdsStatus: () => Json;
  stop: (reason: string) => void;
}>;

/** A page that changes nothing. */
export function getRoute(
  path: string,
  description: string,
  handle: AdminRoute['handle'],
): AdminRoute {
  return { method: 'GET', path, description, handle };
}

/** Those pages of the admin port that every proxy has. */
export function proxyRoutes(parts: ProxyPageParts): readonly AdminRoute[] {
  const { xdsStatus, readiness, log, threads, stop } = parts;
  return [
    getRoute('/xds', 'The stream to the control plane', () => jsonPage(xdsStatus())),
    ...statsRoutes(parts),
    ...readinessRoutes(readiness),
    loggingRoute(log.levels(), async (levels) => {
      log.setLevels(levels);
      await threads.callAll('logLevels', levels);
    }),
    ...profileRoutes(profiledThreads(threads)),
    quitRoute(stop),
  ];
}

/** The pages of the metrics port. */
export function statsRoutes({
  metrics,
  threads,
}: Pick<ProxyPageParts, 'metrics' | 'threads'>): readonly AdminRoute[] {
  return metricsRoutes(async () => [
    metrics.snapshot(),
    ...(await threads.callAll('metrics', null)),
  ]);
}

/** The page of the readiness port. */
export function readinessRoutes(readiness: Readiness): readonly AdminRoute[] {
  return [readinessRoute(readiness, '/healthz/ready')];
}
