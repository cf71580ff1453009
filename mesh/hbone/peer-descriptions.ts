import type { WorkloadDescription } from '../model/workload.ts';
import { parseBaggage } from './headers.ts';

/** Workloads of other networks that talk to this node at one time; more only cost their parsing again. */
const MAX_KEPT = 1024;
/** What is longer is not kept: genuine baggage has seven values, of some 40 characters with their names. */
const MAX_KEPT_LENGTH = 1024;

/**
 * What peers say of their workloads, for telemetry alone. One text always gives the same object: metrics know their
 * series by it, so that a second connection builds no labels.
 */
export class PeerDescriptions {
  readonly #kept = new Map<string, WorkloadDescription>();

  /** What a `baggage` header describes, its values bounded and plain; `undefined` without one. */
  describe(baggage: string | undefined): WorkloadDescription | undefined {
    if (baggage === undefined || baggage === '') return undefined;
    const kept = this.#kept.get(baggage);
    if (kept !== undefined) return kept;
    const description = readDescription(baggage);
    if (baggage.length > MAX_KEPT_LENGTH) return description;
    if (this.#kept.size >= MAX_KEPT) this.#dropOldest();
    this.#kept.set(baggage, description);
    return description;
  }

  #dropOldest(): void {
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest);
      return;
    }
  }
}

function readDescription(baggage: string): WorkloadDescription {
  const { clusterId, namespace, workloadName, canonicalName, canonicalRevision, region, zone } =
    parseBaggage(baggage);
  return {
    // It names the owner of the pods and not the pod, as istio/ztunnel logs it too.
    name: workloadName,
    ...{ clusterId, namespace, workloadName, canonicalName, canonicalRevision },
    locality: { region, zone, subzone: '' },
  };
}
