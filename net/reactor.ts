import { performance } from 'node:perf_hooks'; // the global of that name is a getter
import { type BulkQueue, BulkQueues } from './bulk-queue.ts';
import { beginTurn, endTurn } from './clock.ts';
import { EpollSet } from './epoll-set.ts';
import { tellTurn, tellTurns } from './loop-work.ts';
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL } from './native/libc.ts';
import { runContinuations } from './native/continuations.ts';
import { LoopSeat } from './native/libuv.ts';
import './native/self-check.ts';
import { TaskList } from './task-list.ts';
import type { TurnTask } from './turn-task.ts';

export type { TurnTask };

/** Bits of an event mask (EPOLLIN and so on). */
export const READABLE = 0x1;
export const WRITABLE = 0x4;
export const BROKEN = 0x8;
export const HUNG_UP = 0x10;
export const PEER_ENDED = 0x2000;
export const EXCLUSIVE = 0x10000000;
export const EDGE = 0x80000000;
/** Of a connected socket everything is told, at once and then each time that it changes. */
export const SOCKET_EVENTS = READABLE | WRITABLE | PEER_ENDED | EDGE;

/** Who hears of a descriptor's events. */
export interface EventHandler {
  onEvent(mask: number): void;
}

/** In the place of a generation: the descriptor of Node's loop. */
const LOOP = -1;
/** After so many turns Node's loop goes round even when it has not asked to: it has work that it does only then. */
const TURNS_PER_ROUND = 256;
/** A turn moves bulk when, in the mean of about so many turns, each moved as much. */
const BULK_TURNS = 8;
const BULK_BYTES_A_TURN = 16 << 10;
/**
 * 256 KiB: when those who move bulk have read as much in a turn, the rest of them wait for the next one, which begins with
 * new events. With 512 KiB and 1 MiB small messages wait twice as long, and bulk is no faster. See docs/decisions/large-steps.md.
 */
const QUEUED_BYTES_A_TURN = 256 << 10;

/**
 * One thread's own epoll set, beside Node's loop: promises, timers and gRPC live on the same thread. While descriptors
 * are watched it is here that the thread sleeps, in one system call for both: the loop's own descriptor is in the set,
 * and no sleep is longer than the loop's would be. Whenever the loop has something to do it goes round, and comes back
 * here by an immediate.
 *
 * A turn: handle the events, then what they have brought (runAfterEvents), then continued work (runNextTurn), then a part of
 * the bulk (runInBulk), then what was staged (flushAtTurnEnd), then the continuations of promises that were settled, and what
 * they have staged.
 */
class Reactor {
  readonly #epoll = new EpollSet();
  readonly #loop = new LoopSeat();
  /** By descriptor. */
  readonly #handlers: (EventHandler | undefined)[] = [];
  /** By descriptor: an event of a descriptor that was closed and opened anew within one batch is not for the new one. */
  readonly #generations: number[] = [];
  #watched = 0;
  /** Bytes read since the turn before. */
  movedBytes = 0;
  #meanMovedBytes = 0;
  readonly #afterEvents = new TaskList();
  readonly #atTurnEnd = new TaskList();
  #nextTurn = new TaskList();
  /** Takes the place of those that are being run. */
  #otherNextTurn = new TaskList();
  readonly #bulk = new BulkQueues();
  #running = false;
  #scheduled = false;
  #closed = false;
  onFault: (error: unknown) => void = (error) => {
    // A fault of our own code: nobody may take it for a peer's, and it must not end the turn of the others.
    setImmediate(() => {
      throw error;
    });
  };

  constructor() {
    this.#epoll.control(EPOLL_CTL_ADD, this.#loop.descriptor, READABLE, LOOP);
  }

  watch(fd: number, mask: number, handler: EventHandler): void {
    const generation = ((this.#generations[fd] ?? 0) + 1) & 0x7fffffff;
    this.#generations[fd] = generation;
    this.#epoll.control(EPOLL_CTL_ADD, fd, mask, generation);
    this.#handlers[fd] = handler;
    if (this.#watched++ === 0) this.#loop.keepAlive(true);
    this.#schedule();
  }

  handOver(fd: number, handler: EventHandler): void {
    if (this.#handlers[fd] !== undefined) this.#handlers[fd] = handler;
  }

  unwatch(fd: number): void {
    if (this.#handlers[fd] === undefined) return;
    this.#epoll.control(EPOLL_CTL_DEL, fd, 0, 0);
    this.forget(fd);
  }

  forget(fd: number): void {
    if (this.#handlers[fd] === undefined) return;
    this.#handlers[fd] = undefined;
    if (--this.#watched === 0) this.#loop.keepAlive(false);
  }

  runAfterEvents(task: TurnTask): void {
    this.#afterEvents.add(task);
  }

  flushAtTurnEnd(task: TurnTask): void {
    this.#atTurnEnd.add(task);
    this.#schedule();
  }

  runNextTurn(task: TurnTask): void {
    this.#nextTurn.add(task);
    this.#schedule();
  }

  runInBulk(queue: BulkQueue, task: TurnTask): void {
    this.#bulk.add(queue, task);
    this.#schedule();
  }

  get watched(): number {
    return this.#watched;
  }

  close(): void {
    this.#closed = true;
    this.#loop.close();
    this.#epoll.close();
  }

  /** Has the loop come back here before it sleeps. */
  #schedule(): void {
    if (this.#scheduled || this.#running || this.#closed) return;
    this.#scheduled = true;
    this.#loop.keepAwake(true);
    // Without a hold on the loop: one with a hold would say for as long as it runs that the loop must not sleep.
    setImmediate(this.#runTurns).unref();
  }

  /** Turns, until the loop wants one of its own. */
  readonly #runTurns = (): void => {
    this.#scheduled = false;
    this.#loop.keepAwake(false);
    this.#running = true;
    const beganMs = performance.now();
    let turns = 0;
    while (!this.#closed && this.#turn() && ++turns < TURNS_PER_ROUND);
    tellTurns(performance.now() - beganMs);
    this.#running = false;
    if (this.#watched > 0 || this.#hasWork()) this.#schedule();
  };

  /** @returns whether the loop can wait for the next one. */
  #turn(): boolean {
    const loopMs = this.#loop.timeoutMs();
    const timeoutMs = this.#watched === 0 || this.#hasWork() ? 0 : loopMs;
    this.#meanMovedBytes += (this.movedBytes - this.#meanMovedBytes) / BULK_TURNS;
    this.movedBytes = 0;
    const bulk = this.#meanMovedBytes > BULK_BYTES_A_TURN;
    const count = this.#epoll.wait(timeoutMs, bulk);
    beginTurn();
    const loopIsReady = this.#dispatch(count);
    this.#runAll(this.#afterEvents);
    this.#runNext();
    this.#runBulk();
    this.#flush();
    if (!this.#atTurnEnd.isEmpty) this.#flush(); // what continuations have staged
    tellTurn(endTurn());
    return loopMs !== 0 && !loopIsReady && (this.#watched > 0 || this.#hasWork());
  }

  /** Tasks for the next turn, or staged by the continuations of the last flush: no event may ever come to run them. */
  #hasWork(): boolean {
    return !this.#nextTurn.isEmpty || this.#bulk.tasks > 0 || !this.#atTurnEnd.isEmpty;
  }

  /** @returns whether Node's loop was among those that have events. */
  #dispatch(count: number): boolean {
    let loopIsReady = false;
    for (let index = 0; index < count; index++) {
      const fd = this.#epoll.descriptorAt(index);
      const generation = this.#epoll.tagAt(index);
      if (generation === LOOP) {
        loopIsReady = true;
        continue;
      }
      const handler = this.#handlers[fd];
      if (handler === undefined || this.#generations[fd] !== generation) continue;
      try {
        handler.onEvent(this.#epoll.maskAt(index));
      } catch (error) {
        this.onFault(error);
      }
    }
    return loopIsReady;
  }

  #runNext(): void {
    if (this.#nextTurn.isEmpty) return;
    const tasks = this.#nextTurn;
    this.#nextTurn = this.#otherNextTurn;
    this.#otherNextTurn = tasks;
    this.#runAll(tasks);
  }

  /** No more than wait now: who asks again meanwhile may have to wait for the next turn. */
  #runBulk(): void {
    const enough = this.movedBytes + QUEUED_BYTES_A_TURN;
    for (let left = this.#bulk.tasks; left > 0 && this.movedBytes < enough; left--) {
      const task = this.#bulk.next();
      if (task !== undefined) this.#run(task);
    }
  }

  #runAll(tasks: TaskList): void {
    // A flush may stage another one (a tunnel inside a tunnel), so the list may grow meanwhile.
    for (let index = 0, task = tasks.take(0); task !== undefined; task = tasks.take(++index))
      this.#run(task);
    tasks.restart();
  }

  #flush(): void {
    this.#runAll(this.#atTurnEnd);
    try {
      runContinuations();
    } catch (error) {
      this.onFault(error);
    }
  }

  #run(task: TurnTask): void {
    try {
      task.runTask();
    } catch (error) {
      this.onFault(error);
    }
  }
}

let current: Reactor | undefined;

function reactor(): Reactor {
  return (current ??= new Reactor());
}

/** Tells `handler` of the descriptor's events, until unwatch(). */
export function watch(fd: number, mask: number, handler: EventHandler): void {
  reactor().watch(fd, mask, handler);
}

/** From here on another one is told of a watched descriptor's events; what was told already is not told again. */
export function handOver(fd: number, handler: EventHandler): void {
  reactor().handOver(fd, handler);
}

/** Idempotent; before the descriptor is handed on, or closed where it may have copies. */
export function unwatch(fd: number): void {
  reactor().unwatch(fd);
}

/** As unwatch(), right before the close of a descriptor without copies: with the last of them the kernel lets go. */
export function forget(fd: number): void {
  reactor().forget(fd);
}

/** Runs the task once, when the events of this turn have been told: for onEvent() alone. */
export function runAfterEvents(task: TurnTask): void {
  reactor().runAfterEvents(task);
}

/** Runs the task once, at the end of this turn, or of the next when outside one. The caller asks once at a time. */
export function flushAtTurnEnd(task: TurnTask): void {
  reactor().flushAtTurnEnd(task);
}

/** Runs the task once, in the next turn: for work that used up its budget, and for what must not run inside a call. */
export function runNextTurn(task: TurnTask): void {
  reactor().runNextTurn(task);
}

/**
 * Runs the task once, in this turn or a later one: queues go in turn, as long as their tasks have not read too much in a turn. For
 * those who expect to move bulk, so that who moves little waits for a step of it, and not for one of each.
 */
export function runInBulk(queue: BulkQueue, task: TurnTask): void {
  reactor().runInBulk(queue, task);
}

/** Tells how much was just read: where bulk is moved the thread sleeps in another way. */
export function tellMoved(bytes: number): void {
  reactor().movedBytes += bytes;
}

/** Who hears of exceptions in handlers, which are faults of our own; by default they end the process. */
export function setFaultHandler(onFault: (error: unknown) => void): void {
  reactor().onFault = onFault;
}

/** How many descriptors this thread watches. */
export function watchedDescriptors(): number {
  return reactor().watched;
}

/** Ends this thread's reactor; for a data thread that stops in order. */
export function closeReactor(): void {
  current?.close();
  current = undefined;
}
