import { MeshError } from '../../base/errors.ts';
import { formatLogLevels, parseLogLevels, type LogLevels } from '../runtime/log.ts';
import type { MetricsSnapshot } from '../runtime/metrics.ts';
import {
  formatMetrics,
  mergeSnapshots,
  METRICS_CONTENT_TYPES,
  metricsFormatFor,
} from '../runtime/metrics-text.ts';
import type { Readiness } from '../runtime/readiness.ts';
import { textPage, type AdminRoute } from './server.ts';

/** What is the same in every program. */

/** The metrics of all threads, under both of Istio's paths. */
export function metricsRoutes(
  collect: () => readonly MetricsSnapshot[] | Promise<readonly MetricsSnapshot[]>,
  paths: readonly string[] = ['/metrics', '/stats/prometheus'],
): readonly AdminRoute[] {
  return paths.map((path) => ({
    ...{ method: 'GET', path, description: 'Metrics, as Prometheus or OpenMetrics text' },
    async handle({ headers }) {
      const format = metricsFormatFor(headers.accept);
      const body = formatMetrics(mergeSnapshots(await collect()), format);
      return { contentType: METRICS_CONTENT_TYPES[format], body };
    },
  }));
}

/** 200 `ready`, or 500 with what is waited for, as istio/ztunnel answers. */
export function readinessRoute(readiness: Readiness, path: string): AdminRoute {
  return {
    ...{ method: 'GET', path, description: 'Whether it is ready, and what it waits for' },
    handle: () =>
      textPage(`${readiness.describe()}\n`, readiness.pending().length === 0 ? 200 : 500),
  };
}

/**
 * Log levels, changed by `?level=info,dns=debug`, which holds for the scopes that it names, and put back by `&reset`.
 *
 * @param apply sets them in every thread.
 */
export function loggingRoute(
  initial: LogLevels,
  apply: (levels: LogLevels) => void | Promise<void>,
): AdminRoute {
  let current = initial;
  return {
    ...{
      method: 'POST',
      path: '/logging',
      description: 'Log levels: ?level=info,dns=debug, ?reset',
    },
    async handle({ query }) {
      const text = query.get('level');
      const base = query.has('reset') ? initial : current;
      current = text === null ? base : mergeLevels(base, parseLevels(text));
      await apply(current);
      return textPage(`current log level is ${formatLogLevels(current)}\n`);
    },
  };
}

/** Ends the program in order, as SIGTERM does. */
export function quitRoute(stop: (reason: string) => void): AdminRoute {
  return {
    ...{ method: 'POST', path: '/quitquitquit', description: 'End the program in order' },
    handle: () => {
      // The answer goes out before the server is closed.
      setImmediate(() => {
        stop('quitquitquit');
      });
      return textPage('shutdown now\n');
    },
  };
}

function parseLevels(text: string): { levels: LogLevels; hasFallback: boolean } {
  try {
    const hasFallback = text.split(',').some((part) => part.trim() !== '' && !part.includes('='));
    return { levels: parseLogLevels(text), hasFallback };
  } catch (error) {
    // What the caller wrote is the caller's mistake: status 400.
    const message = error instanceof Error ? error.message : String(error);
    throw new MeshError('ERR_LOG_LEVEL', 'downstream', message);
  }
}

function mergeLevels(
  base: LogLevels,
  { levels, hasFallback }: { levels: LogLevels; hasFallback: boolean },
): LogLevels {
  // A bare level is for everything, so it takes the scopes' own levels away.
  if (hasFallback) return levels;
  return { fallback: base.fallback, scopes: new Map([...base.scopes, ...levels.scopes]) };
}
