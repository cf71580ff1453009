import type { IpAddress } from '../../base/address.ts';
import { NOWHERE, Roster, type Seated } from '../../base/roster.ts';
import { Canceller } from '../../net/canceller.ts';
import type { MetricCell, Metrics } from '../runtime/metrics.ts';

/** Sessions of a thread that may be between accept and proof; one costs about 40 KiB, so 80 MiB in all. */
export const PENDING_HANDSHAKES = 2048;
/** Of one address among them: a pod that begins anew opens one to each pod of a node (110 by default) at the most. */
export const PENDING_HANDSHAKES_PER_SOURCE = 256;
/** Handshakes of one address that a thread begins in a second; at 0.5 ms each that is half a core. */
export const HANDSHAKES_PER_SOURCE_PER_SECOND = 1000;
/**
 * What a handshake that fails takes of that budget: whoever drops what we have paid for, or proves nothing, gets a
 * hundred a second.
 */
export const FAILED_HANDSHAKE_COST = 10;
/** And a session that had to be ended for its abuse: two a second, each of which may have held us up for 5 ms. */
export const ABUSIVE_SESSION_COST = 500;
/** How far an address can be in debt: sessions that begin before the first does harm add up; 10 s until it is heard again. */
const MOST_DEBT = 10 * HANDSHAKES_PER_SOURCE_PER_SECOND;
/**
 * Sessions of one address that a thread keeps, about 50 KiB each. With 100 tunnels in each (istio/ztunnel
 * POOL_MAX_STREAMS_PER_CONNECTION) that is more tunnels than an address has ports.
 */
export const SESSIONS_PER_SOURCE = 1024;

/** Sources that are remembered before those without connections are looked for. */
const MAX_IDLE_SOURCES = 4096;
/** So many are remembered anyway: what comes and goes with each session makes garbage (see Roster). */
const KEPT_SOURCES = 256;

/** Why a connection to 15008 was refused before its handshake. */
export type HandshakeRefusal = 'pending' | 'pending_of_source' | 'rate_of_source' | 'sessions';

const REFUSALS: readonly HandshakeRefusal[] = [
  'pending',
  'pending_of_source',
  'rate_of_source',
  'sessions',
];

/** One address that has connections here. */
type Source = {
  readonly ip: IpAddress;
  /** In the order of their accept. */
  readonly pending: Roster<AdmittedHandshake>;
  sessions: number;
  /** What is left of its handshakes a second, as of `refilledMs`. */
  tokens: number;
  refilledMs: number;
};

/** A connection that may shake hands. It counts until it is disposed of. */
export class AdmittedHandshake implements Disposable, Seated {
  seat = NOWHERE;
  readonly #admission: HandshakeAdmission;
  readonly #source: Source;
  /** Of the handshake: also when it has to make room for another source's. */
  readonly canceller = new Canceller();
  /** Made for those who ask: it costs more than the rest of this object. */
  #evicted: AbortController | undefined;
  #proved = false;

  constructor(admission: HandshakeAdmission, source: Source) {
    this.#admission = admission;
    this.#source = source;
  }

  /** Aborts when the handshake has to make room for another source's; asked for before that can be. */
  get signal(): AbortSignal {
    return (this.#evicted ??= new AbortController()).signal;
  }

  /** The handshake is done: from here on the connection counts as a session. */
  prove(): void {
    if (this.#proved || !this.#source.pending.has(this)) return;
    this.#proved = true;
    this.#admission.leavePending(this.#source, this);
    this.#source.sessions++;
  }

  /** The session did harm, and its source is to have fewer. */
  penalize(): void {
    this.#admission.charge(this.#source, ABUSIVE_SESSION_COST);
  }

  evict(): void {
    this[Symbol.dispose]();
    const cause = new Error('others of its source, or other sources, need the room');
    this.canceller.cancel(cause);
    this.#evicted?.abort(cause);
  }

  [Symbol.dispose](): void {
    if (this.#proved) {
      this.#proved = false;
      this.#source.sessions--;
    } else if (this.#source.pending.has(this)) {
      this.#admission.leavePending(this.#source, this);
      this.#admission.charge(this.#source, FAILED_HANDSHAKE_COST - 1);
    }
    this.#admission.forgetIfIdle(this.#source);
  }
}

/**
 * Who may begin a handshake on the 15008 of a thread's pods. A handshake costs its server far more than the client that
 * drops it (attack T14), and one that says nothing holds memory for as long as it may wait (T15): so what each source
 * address can take is bounded, and when all together is too much, the greediest source gives way.
 */
export class HandshakeAdmission {
  readonly #sources = new Map<IpAddress, Source>();
  readonly #refused: ReadonlyMap<HandshakeRefusal, MetricCell>;
  readonly #now: () => number;
  #pending = 0;

  /** @param now milliseconds that never go back. */
  constructor(metrics: Metrics, now: () => number = () => performance.now()) {
    this.#now = now;
    const refused = metrics.counter(
      'halo_hbone_handshakes_refused_total',
      'Connections to the HBONE port that were refused before their handshake',
      { labelNames: ['reason'] },
    );
    this.#refused = new Map(REFUSALS.map((reason) => [reason, refused.cell(reason)]));
    const pending = metrics
      .gauge('halo_hbone_handshakes_pending', 'TLS handshakes that are under way')
      .cell();
    metrics.onCollect(() => {
      pending.value = this.#pending;
    });
  }

  /** Lets a new connection in, or says why not; a refusal is counted, and costs nothing else. */
  admit(ip: IpAddress): AdmittedHandshake | HandshakeRefusal {
    const source = this.#sources.get(ip) ?? this.#addSource(ip);
    const refusal = this.#check(source);
    if (refusal !== undefined) {
      const cell = this.#refused.get(refusal);
      if (cell !== undefined) cell.value++;
      return refusal;
    }
    source.tokens--;
    const admitted = new AdmittedHandshake(this, source);
    source.pending.add(admitted);
    this.#pending++;
    return admitted;
  }

  leavePending(source: Source, admitted: AdmittedHandshake): void {
    if (source.pending.delete(admitted)) this.#pending--;
  }

  charge(source: Source, tokens: number): void {
    source.tokens = Math.max(-MOST_DEBT, this.#refill(source) - tokens);
  }

  forgetIfIdle(source: Source): void {
    if (this.#sources.size <= KEPT_SOURCES || source.pending.size > 0 || source.sessions > 0)
      return;
    // Its budget counts on for those who come again and again.
    if (this.#refill(source) >= HANDSHAKES_PER_SOURCE_PER_SECOND) this.#sources.delete(source.ip);
  }

  #check(source: Source): HandshakeRefusal | undefined {
    if (source.sessions >= SESSIONS_PER_SOURCE) return 'sessions';
    if (source.pending.size >= PENDING_HANDSHAKES_PER_SOURCE) return 'pending_of_source';
    if (this.#refill(source) < 1) return 'rate_of_source';
    if (this.#pending < PENDING_HANDSHAKES) return undefined;
    const greediest = this.#greediest();
    if (greediest === undefined || greediest.pending.size <= source.pending.size) return 'pending';
    greediest.pending.oldest?.evict();
    return undefined;
  }

  #addSource(ip: IpAddress): Source {
    if (this.#sources.size >= MAX_IDLE_SOURCES) this.#forgetIdle();
    const source: Source = {
      ...{ ip, pending: new Roster<AdmittedHandshake>(), sessions: 0 },
      ...{ tokens: HANDSHAKES_PER_SOURCE_PER_SECOND, refilledMs: this.#now() },
    };
    this.#sources.set(ip, source);
    return source;
  }

  #refill(source: Source): number {
    const now = this.#now();
    const gained = ((now - source.refilledMs) * HANDSHAKES_PER_SOURCE_PER_SECOND) / 1000;
    source.tokens = Math.min(HANDSHAKES_PER_SOURCE_PER_SECOND, source.tokens + gained);
    source.refilledMs = now;
    return source.tokens;
  }

  #greediest(): Source | undefined {
    let found: Source | undefined;
    for (const source of this.#sources.values())
      if (source.pending.size > (found?.pending.size ?? 0)) found = source;
    return found;
  }

  #forgetIdle(): void {
    for (const source of [...this.#sources.values()]) this.forgetIfIdle(source);
  }
}
