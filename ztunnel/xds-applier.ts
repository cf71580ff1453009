import type { CertificateManager } from '../certs/manager.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import { ADDRESS_TYPE } from '../mesh/xds/codec.ts';
import type { RawResource, ResourceRejection } from '../mesh/xds/delta-client.ts';
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
