import { describeError } from '../../../base/errors.ts';
import type { Metrics } from '../../../mesh/runtime/metrics.ts';
import type { Log } from '../../../mesh/runtime/log.ts';
import { systemClock } from '../../../net/clock.ts';
import type { HttpRequest } from '../../../waypoint/http-request.ts';
import { BAD_PATH } from '../../../waypoint/local-reply.ts';
import { normalizePath } from '../../../waypoint/normalize-path.ts';
import { RequestLog } from '../../../waypoint/request-log.ts';
import { RequestMetrics } from '../../../waypoint/request-metrics.ts';
import { DEFAULT_SETTINGS, type RequestParts } from '../../../waypoint/request-parts.ts';
import { Deadlines } from '../../../waypoint/timeout.ts';
import { Tracing } from '../../../waypoint/tracing.ts';
import type { UpstreamPool } from '../../../waypoint/upstream/pool.ts';

export type StepsOptions = Readonly<{
  log: Log;
  metrics: Metrics;
  /** Whose metrics they are: those of the side that sends, or of the one that answers. */
  reporter: 'source' | 'destination';
  pool: UpstreamPool;
}>;

/** What the two directions do each in their own way. */
export type OwnSteps = Pick<RequestParts, 'authorize' | 'findRule' | 'chooseBackend'> &
  Readonly<{ onRequestEnd?: (request: HttpRequest) => void }>;

/** No spans are sent from here, so none are sampled. */
const SAMPLING_PERCENT = 0;

/** The steps of a waypoint's request, without those that only objects ask for which no sidecar here is told of. */
export function makeSteps(
  { log, metrics, reporter, pool }: StepsOptions,
  own: OwnSteps,
): RequestParts {
  const logger = log.scope('sidecar');
  const accessLog = log.scope('access');
  const requestLog = new RequestLog(log.writer);
  const requestMetrics = new RequestMetrics(metrics, reporter);
  const tracing = new Tracing({ samplingPercent: SAMPLING_PERCENT, random: Math.random });
  return {
    ...{ settings: DEFAULT_SETTINGS, pool, deadlines: new Deadlines(systemClock) },
    random: Math.random,
    normalise({ head }) {
      const normal = normalizePath(head.path, 'STRICT');
      if (normal.kind === 'refused') return BAD_PATH;
      head.path = normal.target;
      return undefined;
    },
    authorize: own.authorize,
    limitRate: () => undefined,
    findRule: own.findRule,
    filterRequest: () => undefined,
    chooseBackend: own.chooseBackend,
    trace(request) {
      tracing.trace(request);
    },
    mirror: () => undefined,
    filterResponse: (_request, list) => list,
    onRequestEnd(request) {
      own.onRequestEnd?.(request);
      requestMetrics.count(request, request.downstream.service ?? request.endpoint?.service);
      if (accessLog.isEnabled('info')) requestLog.write(request);
    },
    onFault(error) {
      logger.error('internal error', { error: describeError(error) });
    },
  };
}
