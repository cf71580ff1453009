import { observe, type Metrics } from '../../mesh/runtime/metrics.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { WAYPOINT_TYPES } from '../../mesh/xds/waypoint-codecs.ts';
import type { ResourceChange } from '../translate/translator.ts';

/** Seconds, as istio/istio pilot/pkg/xds/monitoring.go. */
const CONVERGENCE_BOUNDS = [0.01, 0.05, 0.1, 0.5, 1, 3, 5, 10, 20, 30];
/** Bytes, as the same file. */
const SIZE_BOUNDS = [1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000];

const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  [ADDRESS_TYPE, 'wds'],
  [AUTHORIZATION_TYPE, 'wads'],
  // Upstream has no short names for our own types: the message's own.
  ...WAYPOINT_TYPES.map((type) => [type, type.slice(type.lastIndexOf('.') + 1)] as const),
]);

/** What the xDS server counts, under istiod's names. */
export type XdsMetrics = Readonly<{
  sent(typeUrl: string, bytes: number): void;
  rejected(typeUrl: string): void;
  refused(): void;
  delivered(delayMs: number): void;
  pushed(change: ResourceChange): void;
  onCollect(connected: () => number): void;
}>;

/** Adds the xDS server's metrics. */
export function xdsMetrics(metrics: Metrics): XdsMetrics {
  const labelNames = ['type'];
  const pushes = metrics.counter('pilot_xds_pushes', 'Responses sent, by type', { labelNames });
  const rejects = metrics.counter('pilot_total_xds_rejects', 'Responses that proxies rejected', {
    labelNames,
  });
  const errors = metrics.counter('pilot_total_xds_internal_errors', 'Streams that were refused');
  const triggers = metrics.counter('pilot_push_triggers', 'Revisions that were pushed', {
    labelNames,
  });
  const convergence = metrics.histogram(
    'pilot_proxy_convergence_time',
    'Seconds from a change to its last byte sent to a proxy',
    CONVERGENCE_BOUNDS,
  );
  const size = metrics.histogram(
    'pilot_xds_config_size_bytes',
    'Bytes of a response',
    SIZE_BOUNDS,
    { labelNames },
  );
  const connected = metrics.gauge('pilot_xds', 'Proxies connected');
  const short = (typeUrl: string): string => SHORT_NAMES.get(typeUrl) ?? typeUrl;
  return {
    sent: (typeUrl, bytes) => {
      pushes.cell(short(typeUrl)).value++;
      observe(size.cell(short(typeUrl)), SIZE_BOUNDS, bytes);
    },
    rejected: (typeUrl) => {
      rejects.cell(short(typeUrl)).value++;
    },
    refused: () => {
      errors.cell().value++;
    },
    delivered: (delayMs) => {
      observe(convergence.cell(), CONVERGENCE_BOUNDS, delayMs / 1000);
    },
    pushed: ({ changed }) => {
      for (const [typeUrl, names] of changed)
        if (names.size > 0) triggers.cell(short(typeUrl)).value++;
    },
    onCollect: (count) => {
      metrics.onCollect(() => {
        connected.cell().value = count();
      });
    },
  };
}
