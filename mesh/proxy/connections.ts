import type { SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { Roster, type Seated } from '../../base/roster.ts';

/** One live connection, as the registry sees it. */
export interface Live extends Seated {
  readonly podUid: string;
  readonly direction: 'inbound' | 'outbound';
  /** Of a tunnel, where it is kept for a later check: the peer's verified chain, DER. */
  readonly peerChain?: readonly Buffer[] | undefined;
  /** False until both ends are there. */
  readonly isRelaying: boolean;
  /** Why the connection is not permitted (any more); `undefined` while it is. Asked after changes. */
  check(): string | undefined;
  /** Ends it at once, both ways. */
  cut(error: MeshError): void;
  /** Counts bytes that are new since the last time. */
  updateMetrics(): void;
  describe(): LiveDescription;
}

export type LiveDescription = Readonly<{
  source: SocketAddress;
  /** Inbound: a service's host name. Outbound: what the app dialled. */
  originalDestination: string | SocketAddress | undefined;
  actualDestination: SocketAddress;
  protocol: 'HBONE' | 'TCP';
}>;

/** A thread's connections wait no longer than this for a re-check of all of them. */
const SLICE_MS = 1;

/** The live connections of a thread. One is here from before its first decision until its end. */
export class Connections {
  readonly #live = new Roster<Live>();
  #idle: (() => void)[] = [];

  get size(): number {
    return this.#live.size;
  }

  add(connection: Live): void {
    this.#live.add(connection);
  }

  remove(connection: Live): void {
    if (!this.#live.delete(connection) || this.#live.size > 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }

  all(): Iterable<Live> {
    return this.#live.all();
  }

  /** Settles when there is none. */
  async whenIdle(): Promise<void> {
    if (this.#live.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /**
   * Ends what is no longer permitted.
   *
   * @param pause awaited after each millisecond of work; one macrotask.
   */
  async recheck(pause: () => Promise<void>): Promise<void> {
    let sliceEndsMs = performance.now() + SLICE_MS;
    for (const connection of this.#live.all()) {
      const reason = this.#live.has(connection) ? connection.check() : undefined;
      if (reason !== undefined) connection.cut(policyChange(reason));
      if (performance.now() <= sliceEndsMs) continue;
      await pause();
      sliceEndsMs = performance.now() + SLICE_MS;
    }
  }

  /** Ends those of a pod that are not set up yet; what is open goes on. */
  cutPending(podUid: string, error: MeshError): void {
    for (const connection of this.#live.all())
      if (connection.podUid === podUid && !connection.isRelaying) connection.cut(error);
  }

  cutAll(error: MeshError): void {
    for (const connection of this.#live.all()) connection.cut(error);
  }
}

/** Why a connection ends that was permitted when it began. */
export function policyChange(reason: string): MeshError {
  return new MeshError('ERR_POLICY', 'local', `connection closed due to policy change: ${reason}`);
}
