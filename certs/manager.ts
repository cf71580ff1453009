import { MeshError, describeError } from '../base/errors.ts';
import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import { identityParts, type SpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import { containsRoots } from './bundle.ts';
import { systemClock, type Clock } from './clock.ts';
import { backoffMs, renewalTimeMs } from './renewal.ts';

/** Later ones first. realtime: a connection waits; warmup: a pod of the node will need it; background: a renewal. */
type Priority = 'background' | 'warmup' | 'realtime';
const RANK: Readonly<Record<Priority, number>> = { background: 0, warmup: 1, realtime: 2 };

/** As istio/ztunnel src/identity/manager.rs. */
const MAX_FETCHES = 8;
/** The clock is looked at this often, because a machine sleeps and clocks are set; timers would not notice. */
const MAX_SLEEP_MS = 60_000;

/** As the admin page shows it. */
export type CertificateState = Readonly<
  | { kind: 'Available'; certificate: WorkloadCertificate }
  | { kind: 'Initializing' }
  | { kind: 'Unavailable'; reason: string }
>;

export type CertificateManagerParts = Readonly<{
  /** Gets one certificate, as CaClient.fetch() does. */
  fetch: (
    identity: SpiffeId,
    options: Readonly<{ signal: AbortSignal }>,
  ) => Promise<WorkloadCertificate>;
  clock?: Clock;
  /** Until this has settled only what connections wait for is fetched; absent: everything from the start. */
  warmAfter?: Promise<unknown>;
}>;

/**
 * One identity:
 *
 *   idle --get, hold--> queued --free place--> fetching --ok--> waiting (half of what remains) --due--> queued
 *                                                 `--failed--> waiting (back-off, or until expiry) --due--> queued
 */
type Entry = {
  readonly identity: SpiffeId;
  /** How many local workloads have it. */
  holders: number;
  certificate: WorkloadCertificate | undefined;
  /** The last failure, while no later fetch has worked. */
  failure: MeshError | undefined;
  failures: number;
  queued: Readonly<{ priority: Priority; order: number }> | undefined;
  fetching: AbortController | undefined;
  /** When the next fetch is due; Infinity: nothing is planned. */
  dueMs: number;
  /** Those who wait for the first result. */
  result: PromiseWithResolvers<WorkloadCertificate> | undefined;
};

/**
 * One certificate per identity of this node, shared by all pods that have it: fetched once, warmed, renewed in time, kept
 * until it expires when the CA is away, forgotten with the last pod.
 */
export class CertificateManager implements Disposable {
  readonly #fetch: CertificateManagerParts['fetch'];
  readonly #clock: Clock;
  readonly #entries = new Map<SpiffeId, Entry>();
  readonly #subscribers = new Set<(certificate: WorkloadCertificate) => void>();
  /** The newest roots of each trust domain, and which fetch brought them. */
  readonly #roots = new Map<
    TrustDomain,
    Readonly<{ rootsPem: readonly string[]; order: number }>
  >();
  #fetches = 0;
  #order = 0;
  /** The clock, as it was last looked at. */
  #lookedAtMs = -Infinity;
  #cancelTimer: (() => void) | undefined;
  #closed = false;
  #warming: boolean;

  constructor(parts: CertificateManagerParts) {
    this.#fetch = parts.fetch;
    this.#clock = parts.clock ?? systemClock;
    this.#warming = parts.warmAfter === undefined;
    const warm = (): void => {
      this.#warming = true;
      if (!this.#closed) this.#startFetches();
    };
    void parts.warmAfter?.then(warm, warm);
  }

  /**
   * The certificate of an identity, for a connection that waits. At once when there is a valid one; else after the first
   * fetch, or after the retry that is under way; at once with the error of the last one when none is.
   *
   * @throws {MeshError} ERR_CERTIFICATE_UNAVAILABLE; the signal's reason when it is aborted.
   */
  async get(
    identity: SpiffeId,
    options: Readonly<{ signal?: AbortSignal }> = {},
  ): Promise<WorkloadCertificate> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw unavailable(identity, 'the proxy is ending');
    const entry = this.#entry(identity);
    const valid = this.#valid(entry);
    if (valid !== undefined) return valid;
    this.#followClock();
    const retrying = entry.queued !== undefined || entry.fetching !== undefined;
    if (entry.failure !== undefined && !retrying && entry.dueMs > this.#clock.now())
      throw entry.failure;
    entry.result ??= withoutWaiters(Promise.withResolvers<WorkloadCertificate>());
    this.#enqueue(entry, 'realtime');
    return await abortable(entry.result.promise, options.signal);
  }

  /** The valid certificate that is there now, if there is one. */
  current(identity: SpiffeId): WorkloadCertificate | undefined {
    const entry = this.#entries.get(identity);
    return entry && this.#valid(entry);
  }

  /**
   * Says that a workload of this node has that identity: its certificate is fetched ahead of the first connection and
   * renewed until the answer has been called as often as this.
   */
  hold(identity: SpiffeId): () => void {
    const entry = this.#entry(identity);
    entry.holders++;
    if (this.#valid(entry) === undefined && entry.failure === undefined)
      this.#enqueue(entry, 'warmup');
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      entry.holders--;
      if (entry.holders === 0) this.#forget(entry);
    };
  }

  /** Asks for a new certificate now, in the background; the old one serves until it has come. */
  renew(identity: SpiffeId): void {
    const entry = this.#entries.get(identity);
    if (entry !== undefined) this.#enqueue(entry, 'background');
  }

  /** Tries again at once what failed, whatever its back-off: the control plane has come back. */
  retryFailed(): void {
    for (const entry of this.#entries.values())
      if (entry.failure !== undefined) {
        entry.failures = 0;
        this.#enqueue(entry, this.#valid(entry) === undefined ? 'warmup' : 'background');
      }
  }

  /**
   * Calls `listener`, which must not throw, with every new certificate, and with one whose roots have changed, until the
   * answer is called.
   */
  subscribe(listener: (certificate: WorkloadCertificate) => void): () => void {
    this.#subscribers.add(listener);
    return () => {
      this.#subscribers.delete(listener);
    };
  }

  /** Every identity of this node, for the admin page. */
  states(): ReadonlyMap<SpiffeId, CertificateState> {
    return new Map([...this.#entries].map(([identity, entry]) => [identity, this.#state(entry)]));
  }

  /** Ends all fetches; whoever waits gets an error. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#cancelTimer?.();
    for (const entry of [...this.#entries.values()]) this.#forget(entry);
    this.#subscribers.clear();
  }

  #entry(identity: SpiffeId): Entry {
    const found = this.#entries.get(identity);
    if (found !== undefined) return found;
    const entry: Entry = {
      identity,
      holders: 0,
      certificate: undefined,
      failure: undefined,
      failures: 0,
      queued: undefined,
      fetching: undefined,
      dueMs: Infinity,
      result: undefined,
    };
    this.#entries.set(identity, entry);
    return entry;
  }

  #valid(entry: Entry): WorkloadCertificate | undefined {
    const { certificate } = entry;
    return certificate && certificate.notAfterMs > this.#clock.now() ? certificate : undefined;
  }

  #state(entry: Entry): CertificateState {
    const certificate = this.#valid(entry);
    if (certificate !== undefined) return { kind: 'Available', certificate };
    if (entry.failure === undefined) return { kind: 'Initializing' };
    return { kind: 'Unavailable', reason: describeError(entry.failure) };
  }

  #enqueue(entry: Entry, priority: Priority): void {
    if (this.#closed || entry.fetching !== undefined) return;
    entry.dueMs = Infinity; // it is due already
    const waiting = entry.queued;
    if (waiting === undefined) entry.queued = { priority, order: this.#order++ };
    else if (RANK[priority] > RANK[waiting.priority]) entry.queued = { ...waiting, priority };
    this.#startFetches();
  }

  /** Fills the free places: highest priority first, then who came first. */
  #startFetches(): void {
    while (this.#fetches < MAX_FETCHES) {
      let next: Entry | undefined;
      for (const entry of this.#entries.values())
        if (entry.queued && (!next?.queued || goesBefore(entry.queued, next.queued))) next = entry;
      if (next === undefined || !(this.#warming || next.queued?.priority === 'realtime')) return;
      next.queued = undefined;
      void this.#run(next);
    }
  }

  /** One fetch, from its place in the queue to its result. Never rejects. */
  async #run(entry: Entry): Promise<void> {
    const aborter = new AbortController();
    const order = this.#order++;
    entry.fetching = aborter;
    this.#fetches++;
    try {
      const certificate = await this.#fetch(entry.identity, { signal: aborter.signal });
      if (!aborter.signal.aborted) this.#accept(entry, certificate, order);
    } catch (error) {
      if (!aborter.signal.aborted) this.#fail(entry, error);
    } finally {
      this.#fetches--;
      if (entry.fetching === aborter) entry.fetching = undefined;
      if (!this.#closed) {
        this.#startFetches();
        this.#schedule();
      }
    }
  }

  #accept(entry: Entry, fetched: WorkloadCertificate, order: number): void {
    const { trustDomain } = identityParts(entry.identity);
    const known = this.#roots.get(trustDomain);
    // An answer that was under way while the roots changed has the older ones.
    const newer = known !== undefined && known.order > order ? known.rootsPem : undefined;
    const rootsPem = newer ?? fetched.rootsPem;
    const certificate = { ...fetched, rootsPem };
    entry.certificate = certificate;
    entry.failure = undefined;
    entry.failures = 0;
    // One that may chain to a root that was dropped meanwhile is replaced as soon as may be.
    const usable = containsRoots(rootsPem, fetched.rootsPem);
    const nowMs = this.#clock.now();
    entry.dueMs = renewalTimeMs(nowMs, usable ? certificate.notAfterMs : nowMs);
    entry.result?.resolve(certificate);
    entry.result = undefined;
    this.#publish(certificate);
    if (newer !== undefined) return;
    this.#roots.set(trustDomain, { rootsPem, order });
    this.#spreadRoots(trustDomain, rootsPem);
  }

  /** Roots are the CA's, not an identity's: what one answer brought holds for all, without waiting for their renewal. */
  #spreadRoots(trustDomain: TrustDomain, rootsPem: readonly string[]): void {
    for (const entry of this.#entries.values()) {
      const { certificate } = entry;
      if (certificate === undefined || identityParts(entry.identity).trustDomain !== trustDomain)
        continue;
      const dropped = !containsRoots(rootsPem, certificate.rootsPem);
      if (!dropped && containsRoots(certificate.rootsPem, rootsPem)) continue;
      entry.certificate = { ...certificate, rootsPem };
      // It may chain to the root that was dropped.
      if (dropped && !entry.fetching && !entry.queued) entry.dueMs = this.#clock.now();
      this.#publish(entry.certificate);
    }
  }

  #fail(entry: Entry, cause: unknown): void {
    const nowMs = this.#clock.now();
    const message = `Cannot get a certificate for ${entry.identity}`;
    entry.failure = new MeshError('ERR_CERTIFICATE_UNAVAILABLE', 'local', message, { cause });
    entry.failures++;
    const retryMs = nowMs + backoffMs(entry.failures, this.#clock.random());
    const valid = this.#valid(entry);
    entry.dueMs = valid === undefined ? retryMs : Math.min(retryMs, valid.notAfterMs);
    entry.result?.reject(entry.failure);
    entry.result = undefined;
  }

  #forget(entry: Entry): void {
    if (this.#entries.get(entry.identity) === entry) this.#entries.delete(entry.identity);
    entry.queued = undefined;
    entry.dueMs = Infinity;
    entry.fetching?.abort();
    entry.result?.reject(unavailable(entry.identity, 'no workload of this node has it any more'));
    entry.result = undefined;
  }

  #publish(certificate: WorkloadCertificate): void {
    for (const listener of [...this.#subscribers]) listener(certificate);
  }

  /**
   * What was due in a minute is due in a minute still when the clock was set back a day; and what failed may have failed
   * because the clock was ahead, so it is due now.
   */
  #followClock(): void {
    const nowMs = this.#clock.now();
    const backMs = this.#lookedAtMs - nowMs;
    this.#lookedAtMs = nowMs;
    if (backMs <= 0) return;
    for (const entry of this.#entries.values()) {
      if (entry.dueMs === Infinity) continue;
      entry.dueMs = entry.failure === undefined ? entry.dueMs - backMs : nowMs;
    }
  }

  /** Wakes for what is due first. */
  #schedule(): void {
    this.#followClock();
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    let dueMs = Infinity;
    for (const entry of this.#entries.values()) dueMs = Math.min(dueMs, entry.dueMs);
    if (dueMs === Infinity || this.#closed) return;
    const delayMs = Math.min(Math.max(0, dueMs - this.#clock.now()), MAX_SLEEP_MS);
    this.#cancelTimer = this.#clock.schedule(delayMs, () => {
      this.#wake();
    });
  }

  #wake(): void {
    this.#followClock();
    const nowMs = this.#clock.now();
    for (const entry of [...this.#entries.values()].filter(({ dueMs }) => dueMs <= nowMs)) {
      // Asked for by a connection, but no workload holds it: nobody would miss it.
      if (entry.holders === 0) this.#forget(entry);
      else this.#enqueue(entry, 'background');
    }
    this.#schedule();
  }
}

function unavailable(identity: SpiffeId, found: string): MeshError {
  const message = `Cannot get a certificate for ${identity}: ${found}`;
  return new MeshError('ERR_CERTIFICATE_UNAVAILABLE', 'local', message);
}

function goesBefore(
  one: Readonly<{ priority: Priority; order: number }>,
  other: Readonly<{ priority: Priority; order: number }>,
): boolean {
  const rank = RANK[one.priority] - RANK[other.priority];
  return rank === 0 ? one.order < other.order : rank > 0;
}

/** A result that nobody waits for any more must not end the process. */
function withoutWaiters<T>(result: PromiseWithResolvers<T>): PromiseWithResolvers<T> {
  result.promise.catch(() => undefined);
  return result;
}

async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => {
    reject(signal.reason);
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
