import type { Http2Clock } from '../net/h2/options.ts';

/** Who hears that its time is up. Must not throw. */
export interface DeadlineOwner {
  onDeadline(deadline: Deadline): void;
}

/** A moment in the life of one request. Made once by its owner, then set and cleared as often as needed. */
export class Deadline {
  readonly owner: DeadlineOwner | undefined;
  /** Of Deadlines: when it is due, and its neighbours while it is set. */
  atMs = 0;
  before: Deadline = this;
  after: Deadline = this;

  constructor(owner?: DeadlineOwner) {
    this.owner = owner;
  }
}

/** 5 ms: a deadline may be so late, and this thread is not woken more often for one. */
const GRAIN_MS = 5;

/**
 * All deadlines of one thread, behind one timer. Nearly every request ends long before its deadline, so setting and clearing
 * one is all that costs: two links of a list. The timer stands at the earliest deadline that was set since it last ran;
 * when it runs, the list is looked through.
 */
export class Deadlines {
  readonly #clock: Http2Clock;
  readonly #list = new Deadline();
  readonly #due = new Deadline();
  #armedAtMs = Infinity;
  #disarm: (() => void) | undefined;

  constructor(clock: Http2Clock) {
    this.#clock = clock;
  }

  set(deadline: Deadline, inMs: number): void {
    unlink(deadline);
    deadline.atMs = this.#clock.now() + inMs;
    link(deadline, this.#list);
    this.#arm(deadline.atMs);
  }

  /** Idempotent. */
  clear(deadline: Deadline): void {
    unlink(deadline);
  }

  #arm(atMs: number): void {
    // What is due a little before the timer waits for it, too.
    if (atMs + GRAIN_MS >= this.#armedAtMs) return;
    this.#disarm?.();
    this.#armedAtMs = atMs + GRAIN_MS / 2;
    this.#disarm = this.#clock.after(Math.max(1, this.#armedAtMs - this.#clock.now()), () => {
      this.#run();
    });
  }

  #run(): void {
    this.#armedAtMs = Infinity;
    this.#disarm = undefined;
    const nowMs = this.#clock.now();
    let earliestMs = Infinity;
    const list = this.#list;
    for (let one = list.after; one !== list; ) {
      const next = one.after;
      if (one.atMs <= nowMs) {
        unlink(one);
        link(one, this.#due);
      } else if (one.atMs < earliestMs) earliestMs = one.atMs;
      one = next;
    }
    // One that is told may clear others that are due, or set new ones.
    for (let one = this.#due.after; one !== this.#due; one = this.#due.after) {
      unlink(one);
      one.owner?.onDeadline(one);
    }
    if (earliestMs !== Infinity) this.#arm(earliestMs);
  }
}

function link(deadline: Deadline, list: Deadline): void {
  deadline.before = list.before;
  deadline.after = list;
  list.before.after = deadline;
  list.before = deadline;
}

function unlink(deadline: Deadline): void {
  deadline.before.after = deadline.after;
  deadline.after.before = deadline.before;
  deadline.before = deadline;
  deadline.after = deadline;
}

/** How long the whole exchange may take: the rule's time or what a gRPC client grants, whichever is less; `undefined`: without end. */
export function requestTimeoutMs(
  ruleMs: number | undefined,
  grpcMs: number | undefined,
): number | undefined {
  if (ruleMs === undefined) return grpcMs;
  return grpcMs === undefined ? ruleMs : Math.min(ruleMs, grpcMs);
}
