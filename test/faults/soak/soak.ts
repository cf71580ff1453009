import { setTimeout as delay } from 'node:timers/promises';
import { Mesh, type MeshOptions } from '../../support/mesh.ts';
import { monotonicMs } from '../../support/tagged-bytes.ts';
import { L4_TOPOLOGIES, TOPOLOGIES, type Fault } from '../fault.ts';
import { auditIdentities } from '../identities.ts';
import { addressesOf, Loads, type LoadReports } from '../loads.ts';
import { ALL_FAULTS, FAULTS, faultMeshOptions } from '../matrix.ts';
import { runRound } from '../round.ts';
import { Churn } from './churn.ts';
import { ErrorLedger } from './errors.ts';
import { seededRandom, shuffled } from './shuffle.ts';
import { PartWatch } from './watch.ts';

export type SoakOptions = Readonly<{
  minutes: number;
  seed: number;
  /** Also with one and two waypoints in the path, and their own faults. */
  waypoints: boolean;
  /** The longest recovery that passes; RECOVERY_MS on a machine that does nothing else. */
  recoveryMs: number;
  /** Ends it early, in order. */
  signal: AbortSignal;
  /** A line now and then. */
  say: (line: string) => void;
}>;

export type SoakReport = Readonly<{
  rounds: number;
  complete: number;
  /** Connections that a fault broke, with a clean error. */
  explained: number;
  /** Empty when it has passed. */
  failures: readonly string[];
}>;

const MINUTE_MS = 60_000;
const FAULT_PERIOD_MS = 10_000;
const CHURN_PERIOD_MS = 3_000;
const LOOK_PERIOD_MS = 1_000;
/** In a long soak, so often a step of changing the root; each certificate is renewed at least twice in between. */
const ROTATION_PERIOD_MS = 3 * MINUTE_MS;
/** Certificates are renewed after half of it. */
const CERTIFICATE_LIFETIME = '80s';
/**
 * Where a reset reaches one end only, the other is found dead by the first keepalive probe. Three minutes by default;
 * here soon, so that half-open connections do not pile up and are not taken for growth.
 */
const KEEPALIVE_SECONDS = 10;
/** From the load's end until no proxy has a connection: the half-open ones of the last fault have been found by then. */
const LAST_CONNECTION_MS = 2 * KEEPALIVE_SECONDS * 1000;
/** From this length on stops take 30 s, and the root is changed. */
const LONG_MINUTES = 10;
const LONG_STOP_MS = 30_000;
/** In a long one parts are killed in this share of the time alone, in the beginning: what lives on from there has the time to grow. */
const KILLING_SHARE = 1 / 3;
/** Of every part, by the line through the samples of one process; see growth.ts for how long it has to live. */
const GROWTH = { bytesPerMinute: 1 << 20, descriptorsPerMinute: 1 };
/** When the load is over: of every part, against what it had when it was new and idle. */
const LEFT = { bytes: 96 << 20, descriptors: 64 };
const STOP_GRACE_MS = 5_000;

/** Loads a mesh, changes it all the time, and lets a fault happen every ten seconds. */
export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  await using mesh = new Mesh(meshOptions(options));
  await mesh.start();
  const soak = new Soak(mesh, options);
  return await soak.run();
}

function meshOptions({ waypoints }: SoakOptions): MeshOptions {
  const options = faultMeshOptions({ waypoints });
  const environment = options.settings?.partEnvironment ?? {};
  const proxy = {
    SECRET_TTL: CERTIFICATE_LIFETIME,
    KEEPALIVE_TIME: `${KEEPALIVE_SECONDS}s`,
  };
  const partEnvironment = {
    ...environment,
    ztunnel: { ...environment['ztunnel'], ...proxy },
    waypoint: { ...environment['waypoint'], ...proxy },
  };
  return { ...options, settings: { ...options.settings, partEnvironment } };
}

class Soak {
  readonly #mesh: Mesh;
  readonly #options: SoakOptions;
  readonly #loads: Loads;
  readonly #churn: Churn;
  readonly #watch: PartWatch;
  readonly #ledger: ErrorLedger;
  readonly #failures: string[] = [];
  #fault: Fault | undefined;
  #rounds = 0;
  /** Of the last fault, the longest of all topologies; milliseconds. */
  #recoveryMs = 0;

  constructor(mesh: Mesh, options: SoakOptions) {
    this.#mesh = mesh;
    this.#options = options;
    this.#ledger = new ErrorLedger(options.recoveryMs);
    this.#loads = new Loads(mesh, options.waypoints ? TOPOLOGIES : L4_TOPOLOGIES);
    this.#churn = new Churn(mesh);
    this.#watch = new PartWatch(mesh);
  }

  async run(): Promise<SoakReport> {
    const { minutes, signal, say, seed } = this.#options;
    say(`seed ${seed}, ${minutes} minutes`);
    await this.#watch.look(true);
    const fresh = this.#watch.latest();
    await this.#loads.startServers();
    await this.#loads.start();
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    const beside = [
      repeat(CHURN_PERIOD_MS, until, () => this.#churn.turn()),
      repeat(LOOK_PERIOD_MS, until, () => this.#watch.look(this.#fault !== undefined)),
      ...(this.#isLong ? [repeat(ROTATION_PERIOD_MS, until, () => this.#churn.rotate())] : []),
    ];
    try {
      await this.#faults();
    } finally {
      over.abort();
      await Promise.all(beside);
    }
    this.#take(await this.#loads.stop(STOP_GRACE_MS));
    this.#ledger.judge();
    await this.#audit();
    if (!signal.aborted) {
      await this.#checkRelayed();
      await this.#checkLeft(fresh);
    }
    return this.#report();
  }

  async #faults(): Promise<void> {
    const { minutes, seed, waypoints, signal, say } = this.#options;
    const faults = waypoints ? ALL_FAULTS : FAULTS;
    const beganMs = performance.now();
    const endMs = beganMs + minutes * MINUTE_MS;
    const killingMs = this.#isLong ? minutes * MINUTE_MS * KILLING_SHARE : Infinity;
    for (const fault of shuffled(faults, seededRandom(seed))) {
      const nextMs = performance.now() + FAULT_PERIOD_MS;
      if (nextMs > endMs || signal.aborted) return;
      if (fault.replaces === true && performance.now() > beganMs + killingMs) continue;
      await this.#round(this.#lengthened(fault));
      await this.#audit();
      this.#ledger.judge();
      const { complete, explained } = this.#ledger;
      const recovery = `recovered after ${Math.round(this.#recoveryMs)} ms`;
      const state = `${recovery}, ${complete} complete, ${explained} broken by faults`;
      say(`${++this.#rounds} ${fault.name}: ${state}, ${this.#failures.length} failures`);
      if (this.#rounds % 6 === 0) say(`  ${this.#watch.describe()}`);
      await delay(Math.max(0, nextMs - performance.now()), undefined, { signal }).catch(
        () => undefined,
      );
      this.#take(await this.#loads.take());
    }
  }

  async #round(given: Fault): Promise<void> {
    // Its window opens when it begins, after the round has seen that all is well.
    let ends: ((nowMs: number) => void) | undefined;
    this.#recoveryMs = 0;
    const fault: Fault = {
      ...given,
      begin: async (place) => {
        ends = this.#ledger.faultBegins(given, monotonicMs());
        this.#fault = given;
        const active = await given.begin(place);
        return {
          ...active,
          end: async () => {
            await active.end();
            ends?.(monotonicMs());
          },
        };
      },
    };
    try {
      const { cells } = await runRound(this.#loads, fault, (reports) => {
        this.#take(reports);
      });
      for (const [topology, { recoveryMs = Infinity, recovery }] of cells) {
        this.#recoveryMs = Math.max(this.#recoveryMs, recoveryMs);
        if (recoveryMs > this.#options.recoveryMs)
          this.#fail(`${topology}: ${given.name}: ${recovery}`);
      }
    } catch (error) {
      this.#fail(`${given.name}: ${String(error)}`);
    } finally {
      ends?.(monotonicMs());
      await this.#watch.look(true); // what was stopped or starved says so now, not in the next window
      this.#fault = undefined;
    }
  }

  #fail(failure: string): void {
    this.#failures.push(failure);
    this.#options.say(`  failed: ${failure}`);
  }

  /** Stops are longer in a long soak. */
  #lengthened(fault: Fault): Fault {
    const long = this.#isLong && fault.class === 'process stopped';
    return long ? { ...fault, holdMs: LONG_STOP_MS } : fault;
  }

  get #isLong(): boolean {
    return this.#options.minutes >= LONG_MINUTES;
  }

  #take(reports: LoadReports): void {
    this.#ledger.add(reports, this.#fault?.explains);
  }

  async #audit(): Promise<void> {
    const addresses = await addressesOf(this.#mesh, /^(?!passer-)/);
    for (const flaw of auditIdentities(this.#mesh.takeRecords(), addresses)) this.#fail(flaw);
  }

  /** Nobody has a connection any more, so the proxies have none either, once the half-open ones are found. */
  async #checkRelayed(): Promise<void> {
    const deadlineMs = performance.now() + LAST_CONNECTION_MS;
    for (;;) {
      const left = [...(await this.#watch.relayed())].filter(([, count]) => count !== 0);
      if (left.length === 0) return;
      if (performance.now() > deadlineMs) {
        const failures = left.map(([part, count]) => `${part} still has ${count} connections`);
        this.#failures.push(...failures);
        return;
      }
      await delay(LOOK_PERIOD_MS);
    }
  }

  async #checkLeft(fresh: ReturnType<PartWatch['latest']>): Promise<void> {
    await this.#mesh.settled();
    await this.#watch.look(true);
    for (const [part, { privateBytes, descriptors }] of this.#watch.latest()) {
      const before = fresh.get(part);
      if (before === undefined) continue;
      const [bytes, more] = [privateBytes - before.privateBytes, descriptors - before.descriptors];
      if (bytes > LEFT.bytes) this.#failures.push(`${part} has kept ${bytes} bytes`);
      if (more > LEFT.descriptors) this.#failures.push(`${part} has kept ${more} descriptors`);
    }
  }

  #report(): SoakReport {
    const { complete, explained, wrong, unexplained } = this.#ledger;
    const growth = this.#watch.growth(GROWTH);
    const failures = [
      ...this.#failures,
      ...wrong,
      ...unexplained.map((text) => `unexplained: ${text}`),
      ...this.#watch.blocks,
      ...growth,
    ];
    return { rounds: this.#rounds, complete, explained, failures };
  }
}

/** Does something again and again until the signal is given; one that fails (what it asks is away) does not end it. */
async function repeat(
  periodMs: number,
  signal: AbortSignal,
  action: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    await action().catch(() => undefined);
    await delay(periodMs, undefined, { signal }).catch(() => undefined);
  }
}
