import type { Clock } from '../../certs/clock.ts';
import type { BalancerPolicy, Warmup } from '../../mesh/model/traffic-policy.ts';
import { isHashing } from './build.ts';
import type { Endpoint } from './endpoint.ts';
import { hashNumber } from './hash.ts';
import type { EndpointLevel } from './levels.ts';
import { asFraction, RandomSource } from './random-source.ts';
import { buildPlan, isUsable, NO_PLAN, type Plan, type PlannedLevel } from './plan.ts';
import { warmAtMs } from './warm-up.ts';

/** So often another endpoint is asked for in the place of one that was tried. Envoy `host_selection_retry_max_attempts`, Istio. */
const AVOID_TRIED_ATTEMPTS = 5;
/** When so many named endpoints had become unavailable, the plan is made anew at once. */
const STALE_ATTEMPTS = 16;
/** Making plans takes at most about this part of the thread's time. */
const BUILD_SHARE = 1 / 20;
/** A request's hash, or its random number in the place of one, decides of the level and the group too. */
const [LEVEL_SEED, GROUP_SEED] = [0x1b87_3593, 0x0239_6d5b];

/** How a target's requests are balanced. */
export type Balancing = Readonly<{
  policy: BalancerPolicy;
  warmup: Warmup | undefined;
  /** Under so many percent of available endpoints all are used; 0: never. */
  panicPercent: number;
  levels: readonly EndpointLevel[];
}>;

const NOTHING: Balancing = {
  policy: { kind: 'random' },
  warmup: undefined,
  panicPercent: 0,
  levels: [],
};

export type PickRequest = Readonly<{
  /** See hashRequest(); `undefined` where the request has none: it goes anywhere. */
  hash?: number | undefined;
  /** Endpoints that failed for this request; avoided where that is possible. Not looked at when a hash decides. */
  tried?: readonly Endpoint[];
  /** `<address>:<port>` that the client asked for, for PASSTHROUGH. */
  destination?: string;
}>;

/**
 * Chooses endpoints for requests. A pick reads the plan that is there; when endpoints or their availability change, a new one is
 * made in steps between other work and takes the old one's place. Meanwhile what has become unavailable is passed over, so a
 * plan may be late, never wrong: only when too much of it is stale, a pick makes the new one itself.
 */
export class EndpointPicker implements Disposable {
  readonly #clock: Clock;
  readonly #random: RandomSource;
  #balancing: Balancing = NOTHING;
  #plan: Plan = NO_PLAN;
  #byKey: ReadonlyMap<string, Endpoint> = new Map();
  /** Something has changed that neither the plan nor the one being made knows. */
  #stale = false;
  #building: Generator<undefined, Plan, undefined> | undefined;
  #cancelStep: (() => void) | undefined;
  #cancelWarm: (() => void) | undefined;
  #notBeforeMs = -Infinity;
  #stepsMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#random = new RandomSource(clock.random);
  }

  /** Takes new endpoints or another policy; in use after some turns, or with the first pick. */
  replace(balancing: Balancing): void {
    this.#balancing = balancing;
    this.#byKey = balancing.policy.kind === 'passthrough' ? byHashKey(balancing.levels) : new Map();
    this.refresh();
  }

  /** To be called when the availability of an endpoint has changed. */
  refresh(): void {
    this.#stale = true;
    // One that is being made is brought to its end: else steady changes would keep every plan from being used.
    if (this.#cancelStep === undefined) this.#scheduleBuilding();
  }

  /** @returns `undefined` when no endpoint is available. */
  pick(request: PickRequest): Endpoint | undefined {
    const asked =
      request.destination === undefined ? undefined : this.#byKey.get(request.destination);
    if (asked?.state.available) return asked;
    const found = this.#pickFromPlan(request);
    if (found !== undefined || !(this.#stale || this.#building !== undefined)) return found;
    this.#buildNow();
    return this.#pickFromPlan(request);
  }

  /** Nothing of it is scheduled any more. */
  [Symbol.dispose](): void {
    this.#cancelStep?.();
    this.#cancelWarm?.();
  }

  #pickFromPlan({ hash, tried }: PickRequest): Endpoint | undefined {
    const byHash = hash !== undefined && isHashing(this.#balancing.policy);
    const used = byHash ? hash : this.#random.next();
    const level = chooseLevel(this.#plan, hashNumber(used, LEVEL_SEED));
    if (level === undefined) return undefined;
    const group = chooseGroup(level, hashNumber(used, GROUP_SEED));
    let refused: Endpoint | undefined;
    let avoided = 0;
    for (let attempt = 0; attempt < STALE_ATTEMPTS; attempt++) {
      const endpoint = group?.balancer.pick(used, attempt);
      if (endpoint === undefined) return undefined;
      if (!isUsable(endpoint.state, level.panic)) continue;
      if (byHash || tried === undefined || !wasTried(tried, endpoint)) return endpoint;
      refused = endpoint;
      avoided++;
      if (avoided > AVOID_TRIED_ATTEMPTS) break;
    }
    return refused;
  }

  #scheduleBuilding(): void {
    this.#scheduleStep(Math.max(0, this.#notBeforeMs - this.#clock.now()));
  }

  #scheduleStep(delayMs: number): void {
    this.#cancelStep = this.#clock.schedule(delayMs, () => {
      this.#cancelStep = undefined;
      this.#step();
    });
  }

  #step(): void {
    const startMs = this.#clock.now();
    this.#building ??= this.#begin();
    const { done, value } = this.#building.next();
    this.#stepsMs += this.#clock.now() - startMs;
    if (done !== true) this.#scheduleStep(0);
    else this.#publish(value);
  }

  #buildNow(): void {
    const startMs = this.#clock.now();
    this.#cancelStep?.();
    this.#cancelStep = undefined;
    const building = this.#begin();
    for (;;) {
      const { done, value } = building.next();
      if (done !== true) continue;
      this.#stepsMs = this.#clock.now() - startMs;
      this.#publish(value);
      return;
    }
  }

  #begin(): Generator<undefined, Plan, undefined> {
    const { levels, policy, warmup, panicPercent } = this.#balancing;
    this.#stale = false;
    this.#stepsMs = 0;
    const { now } = this.#clock;
    return buildPlan(levels, panicPercent, { policy, warmup, now, random: this.#random });
  }

  #publish(plan: Plan): void {
    this.#plan = plan;
    this.#building = undefined;
    this.#notBeforeMs = this.#clock.now() + this.#stepsMs / BUILD_SHARE;
    if (this.#stale) this.#scheduleBuilding();
    this.#awaitWarm();
  }

  /** When the last endpoint is warm, all weights may be the same again, and a plainer balancer will do. */
  #awaitWarm(): void {
    this.#cancelWarm?.();
    this.#cancelWarm = undefined;
    const { warmup, levels } = this.#balancing;
    if (warmup === undefined) return;
    const nowMs = this.#clock.now();
    let latestMs = nowMs;
    for (const level of levels)
      for (const { endpoints } of level)
        for (const { state } of endpoints)
          if (state.available) latestMs = Math.max(latestMs, warmAtMs(state, warmup));
    if (latestMs === nowMs) return;
    this.#cancelWarm = this.#clock.schedule(latestMs - nowMs, () => {
      this.refresh();
    });
  }
}

function wasTried(tried: readonly Endpoint[], { state }: Endpoint): boolean {
  for (const each of tried) if (each.state === state) return true;
  return false;
}

function chooseLevel(plan: Plan, word: number): PlannedLevel | undefined {
  let rest = asFraction(word);
  let last: PlannedLevel | undefined;
  for (const level of plan) {
    if (level.share === 0) continue;
    if (rest < level.share) return level;
    rest -= level.share;
    last = level;
  }
  return last;
}

function chooseGroup(
  { groups, weight }: PlannedLevel,
  word: number,
): PlannedLevel['groups'][number] | undefined {
  if (groups.length < 2) return groups[0];
  let rest = asFraction(word) * weight;
  for (const group of groups) {
    if (rest < group.weight) return group;
    rest -= group.weight;
  }
  return groups.at(-1);
}

function byHashKey(levels: readonly EndpointLevel[]): Map<string, Endpoint> {
  return new Map(
    levels.flatMap((level) =>
      level.flatMap(({ endpoints }) => endpoints.map((each) => [each.hashKey, each] as const)),
    ),
  );
}
