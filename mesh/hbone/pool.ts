import { abortable } from '../../base/abortable.ts';
import { formatSocketAddress, type IpAddress, type SocketAddress } from '../../base/address.ts';
import type { SpiffeId } from '../model/identity.ts';
import type { HboneSession, SessionOwner } from './session.ts';

/** Everything that makes two sessions different: who calls, as whom, whom they accept, and where. */
export type PoolKey = Readonly<{
  /** The pod whose namespace the session lives in: two pods of one account never share one. */
  podUid: string;
  sourceIp: IpAddress;
  identity: SpiffeId;
  peers: readonly SpiffeId[];
  connectTo: SocketAddress;
}>;

type Entry = {
  readonly key: string;
  readonly podUid: string;
  readonly identity: SpiffeId;
  sessions: HboneSession[];
  /** One attempt at a time; latecomers share its outcome, also its failure. */
  opening: Promise<HboneSession> | undefined;
};

/** How often idle sessions are looked for, as a part of the idle time. */
const SWEEPS_PER_IDLE_TIME = 4;

/** Where so many sessions to one peer do not answer, one more would not either. */
const MAX_UNRESPONSIVE = 8;

/** The sessions of one thread, shared by the connections that have the same key. */
export class SessionPool implements SessionOwner, Disposable {
  readonly #entries = new Map<string, Entry>();
  readonly #bySession = new Map<HboneSession, Entry>();
  readonly #idleMs: number;
  readonly #sweeper: NodeJS.Timeout;

  /** @param idleMs a session without tunnels for so long is ended. */
  constructor(options: Readonly<{ idleMs: number }>) {
    this.#idleMs = options.idleMs;
    this.#sweeper = setInterval(() => {
      this.#sweep();
    }, options.idleMs / SWEEPS_PER_IDLE_TIME);
    this.#sweeper.unref();
  }

  /** How many sessions are open for new tunnels. */
  get size(): number {
    return this.#bySession.size;
  }

  /**
   * Begins a tunnel on a session with room for one more: an open one, or one that `open` makes.
   *
   * @param begin opens its stream before it returns, so that nobody else takes the room meanwhile. `fresh`: the session
   *   was opened for this call, so its state is not a matter of its past.
   * @param signal of this caller alone. `open` serves all who wait, so it has a deadline of its own.
   * @throws {MeshError} what `open` throws, to everyone who waited for it; what `begin` throws; the signal's reason.
   */
  async withSession<T>(
    key: PoolKey,
    open: () => Promise<HboneSession>,
    begin: (session: HboneSession, fresh: boolean) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    for (;;) {
      signal?.throwIfAborted();
      const entry = this.#entry(key); // looked up each time: it goes with its last session
      const free = findFree(entry);
      if (free !== undefined) return await begin(free, false);
      const first = entry.opening === undefined;
      entry.opening ??= this.#open(entry, open);
      const session = await abortable(entry.opening, signal);
      // Whoever opened it has the first place; others look again, for there may be more of them than it has room.
      if (first) return await begin(session, true);
    }
  }

  /** New connections of this identity get new sessions; tunnels that run go on. For a certificate that was renewed. */
  retireIdentity(identity: SpiffeId): void {
    for (const entry of [...this.#entries.values()])
      if (entry.identity === identity) for (const session of [...entry.sessions]) session.retire();
  }

  /** The pod has been released: its sessions end with the tunnels that run. */
  retirePod(podUid: string): void {
    for (const entry of [...this.#entries.values()])
      if (entry.podUid === podUid) for (const session of [...entry.sessions]) session.retire();
  }

  /** No new tunnels anywhere; those that run go on. */
  retireAll(): void {
    for (const session of [...this.#bySession.keys()]) session.retire();
  }

  /** Ends sessions at once, with their tunnels. */
  closeWhere(condition: (session: HboneSession) => boolean): void {
    for (const session of [...this.#bySession.keys()]) if (condition(session)) session.close();
  }

  onRetired(session: HboneSession): void {
    const entry = this.#bySession.get(session);
    if (entry === undefined) return;
    this.#bySession.delete(session);
    entry.sessions = entry.sessions.filter((other) => other !== session);
    this.#dropIfEmpty(entry);
  }

  /** Ends every session, and every tunnel with it. */
  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
    for (const session of [...this.#bySession.keys()]) session.close();
  }

  #entry(key: PoolKey): Entry {
    const id = formatPoolKey(key);
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      const { podUid, identity } = key;
      entry = { key: id, podUid, identity, sessions: [], opening: undefined };
      this.#entries.set(id, entry);
    }
    return entry;
  }

  async #open(entry: Entry, open: () => Promise<HboneSession>): Promise<HboneSession> {
    try {
      const session = await open();
      entry.sessions.push(session);
      putSlowLast(entry);
      this.#bySession.set(session, entry);
      session.setOwner(this);
      return session;
    } finally {
      entry.opening = undefined;
      this.#dropIfEmpty(entry);
    }
  }

  #dropIfEmpty(entry: Entry): void {
    if (entry.sessions.length === 0 && entry.opening === undefined) this.#entries.delete(entry.key);
  }

  #sweep(): void {
    const idleSinceMs = performance.now() - this.#idleMs;
    for (const session of [...this.#bySession.keys()])
      if (session.activeTunnels === 0 && session.lastUsedMs <= idleSinceMs) session.retire();
  }
}

/**
 * One that answers soon, if there is one; else none, so that another is opened, until there are enough that do not. A
 * session that was slow stands behind the others from then on: its peer may answer again, and is still far behind.
 */
function findFree(entry: Entry): HboneSession | undefined {
  const [first] = entry.sessions;
  if (first === undefined) return undefined;
  if (first.availableTunnels() > 0 && !first.isUnresponsive()) return first;
  const slowCount = putSlowLast(entry);
  const index = entry.sessions.findIndex((session) => session.availableTunnels() > 0);
  const isSlow = index >= entry.sessions.length - slowCount;
  return isSlow && slowCount < MAX_UNRESPONSIVE ? undefined : entry.sessions[index];
}

/** @returns how many do not answer now. */
function putSlowLast(entry: Entry): number {
  const slow = entry.sessions.filter((session) => session.isUnresponsive());
  if (slow.length > 0)
    entry.sessions = [...entry.sessions.filter((session) => !slow.includes(session)), ...slow];
  return slow.length;
}

function formatPoolKey(key: PoolKey): string {
  const { podUid, sourceIp, identity, peers, connectTo } = key;
  return `${podUid} ${sourceIp} ${identity} ${formatSocketAddress(connectTo)} ${peers.join(',')}`;
}
