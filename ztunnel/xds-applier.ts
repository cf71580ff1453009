import type { CertificateManager } from '../certs/manager.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { Metrics } from '../mesh/runtime/metrics.ts';
import { ADDRESS_TYPE } from '../mesh/xds/codec.ts';
import type { DeltaClientEvent, RawResource, ResourceRejection } from '../mesh/xds/delta-client.ts';
import type { ControlCalls, DataThreadCalls } from './thread-calls.ts';

/** Gives every data thread what the control plane sends; the threads decode it, this one keeps none of it. */
export class XdsApplier {
  readonly #threads: DataThreads<ControlCalls, DataThreadCalls>;
  readonly #certificates: CertificateManager;
  /** Identities whose certificates are fetched ahead of the first connection, with how to let them go. */
  readonly #warmed = new Map<SpiffeId, () => void>();

  constructor(
    threads: DataThreads<ControlCalls, DataThreadCalls>,
    certificates: CertificateManager,
  ) {
    this.#threads = threads;
    this.#certificates = certificates;
  }

  /** All threads judge alike, so the first one's rejections are everyone's. */
  async apply(
    typeUrl: string,
    resources: readonly RawResource[],
    removed: readonly string[],
  ): Promise<readonly ResourceRejection[]> {
    const delta = {
      type: typeUrl === ADDRESS_TYPE ? ('address' as const) : ('policy' as const),
      resources: resources.map(({ name, bytes }) => ({ name, bytes: Uint8Array.from(bytes) })),
      removed,
    };
    const [first] = await this.#threads.callAll('applyXds', delta);
    if (first === undefined) return [];
    if (delta.type === 'address') this.#warm(new Set(first.localIdentities));
    return first.rejected;
  }

  /** Counts what the stream does, under Istio's names. */
  count(metrics: StreamMetrics, event: DeltaClientEvent): void {
    if (event.kind === 'message') {
      metrics.messages.cell(event.typeUrl).value++;
      metrics.bytes.cell(event.typeUrl).value += event.bytes;
    } else if (event.kind === 'terminated') metrics.terminations.cell(event.reason).value++;
  }

  #warm(wanted: ReadonlySet<SpiffeId>): void {
    for (const [identity, release] of this.#warmed) {
      if (wanted.has(identity)) continue;
      this.#warmed.delete(identity);
      release();
    }
    for (const identity of wanted)
      if (!this.#warmed.has(identity))
        this.#warmed.set(identity, this.#certificates.hold(identity));
  }
}

export type StreamMetrics = ReturnType<typeof addStreamMetrics>;

/** The counters of the stream to the control plane. */
export function addStreamMetrics(metrics: Metrics): {
  messages: ReturnType<Metrics['counter']>;
  bytes: ReturnType<Metrics['counter']>;
  terminations: ReturnType<Metrics['counter']>;
} {
  const byUrl = { labelNames: ['url'] };
  return {
    messages: metrics.counter('istio_xds_message_total', 'xDS messages received', byUrl),
    bytes: metrics.counter('istio_xds_message_bytes_total', 'xDS bytes received', byUrl),
    terminations: metrics.counter(
      'istio_xds_connection_terminations_total',
      'xDS streams that ended',
      { labelNames: ['reason'] },
    ),
  };
}
