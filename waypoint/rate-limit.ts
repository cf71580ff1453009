import { MeshError } from '../base/errors.ts';
import type { RateLimit, TokenLimit } from '../mesh/model/rate-limit.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import type { Metrics } from '../mesh/runtime/metrics.ts';
import type { Clock } from '../net/clock.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { hasTokens, tokensLeft } from './rate-limit/bucket.ts';
import type { KeyedBucket } from './rate-limit/bucket-table.ts';
import { BucketTables } from './rate-limit/bucket-tables.ts';
import { clientOf } from './rate-limit/client.ts';
import {
  CompiledLimits,
  type CompiledRule,
  type Counting,
  type LimitedRequest,
} from './rate-limit/compiled-limits.ts';
import { LocalTokens } from './rate-limit/local-tokens.ts';
import { RateLimitMetrics } from './rate-limit/metrics.ts';
import { SharedBuckets, type SharedAnswer, type SharedBucketsEvent } from './rate-limit/redis.ts';
import {
  NOT_CONFIGURED,
  notCounted,
  rateLimited,
  standingFields,
  TOO_LONG,
} from './rate-limit/replies.ts';
import type { LocalReply } from './local-reply.ts';
import type { Verdict } from './request-parts.ts';

export type RateLimiterOptions = Readonly<{
  store: Pick<WaypointStore, 'config'>;
  /** Those of this gateway, as they are now. */
  gatewayLimits?: () => readonly RateLimit[] | undefined;
  clock: Clock;
  metrics: Metrics;
  /** Where global limits are counted; without one they cannot be. */
  redisUrl: string | undefined;
  onEvent: (event: SharedBucketsEvent) => void;
  /** Where several threads of a process count local limits together; see ProcessBuckets. */
  processMemory?: SharedArrayBuffer | undefined;
}>;

const NO_LIMITS: readonly RateLimit[] = [];

type GlobalCount = Readonly<{ rule: CompiledRule; counting: Counting; key: string }>;

/**
 * Counts requests by the RateLimitPolicies of their services or of the gateway, and refuses those for which there are no tokens. A request
 * that one policy refuses takes no tokens of the others. Local limits are answered at once; where there are global ones,
 * Redis is asked once for all of them.
 */
export class RateLimiter implements Disposable {
  readonly #options: RateLimiterOptions;
  readonly #metrics: RateLimitMetrics;
  readonly #shared: SharedBuckets | undefined;
  readonly #tables = new BucketTables();
  readonly #tokens: LocalTokens;
  readonly #compiled = new WeakMap<readonly RateLimit[], CompiledLimits>();
  /** Of the request that is judged now. */
  readonly #localRules: CompiledRule[] = [];
  readonly #localCountings: Counting[] = [];
  readonly #localBuckets: KeyedBucket[] = [];
  readonly #localTaken: boolean[] = [];
  readonly #global: GlobalCount[] = [];
  #owner = '';
  #nowMs = 0;

  constructor(options: RateLimiterOptions) {
    const { redisUrl, clock, metrics } = options;
    this.#options = options;
    this.#metrics = new RateLimitMetrics(metrics);
    this.#tokens = new LocalTokens(options.processMemory);
    if (redisUrl === undefined) return;
    this.#shared = new SharedBuckets(redisUrl, clock, (event) => {
      this.#metrics.setAvailable(event.kind === 'available');
      options.onEvent(event);
    });
  }

  /** Global limits can be counted now. */
  get isRedisAvailable(): boolean {
    return this.#shared?.isAvailable ?? false;
  }

  limitRate(request: LimitedRequest): Verdict | Promise<Verdict> {
    const limits = this.#limitsOf(request.downstream);
    if (limits === undefined) return NOT_CONFIGURED;
    const compiled = this.#compile(limits);
    if (compiled.isEmpty) return undefined;
    this.#nowMs = Math.floor(this.#options.clock.now());
    try {
      const client = clientOf(request.downstream);
      this.#owner = client.owner;
      compiled.forEachRule(request, client, this.#count);
      return this.#judge(request);
    } catch (error) {
      if (error instanceof MeshError && error.code === 'ERR_REGEX_INPUT') return TOO_LONG;
      throw error;
    } finally {
      this.#localRules.length = 0;
      this.#localCountings.length = 0;
      this.#localBuckets.length = 0;
      this.#localTaken.length = 0;
      this.#global.length = 0;
    }
  }

  /** `undefined` where they have not arrived. */
  #limitsOf({ service, edge }: LimitedRequest['downstream']): readonly RateLimit[] | undefined {
    const { store, gatewayLimits } = this.#options;
    if (service !== undefined) return store.config(keyOfService(service)).limits?.limits;
    // A gateway's come with its listeners; to pods at their own addresses nothing can be attached.
    return (edge && gatewayLimits?.()) ?? NO_LIMITS;
  }

  #compile(limits: readonly RateLimit[]): CompiledLimits {
    let compiled = this.#compiled.get(limits);
    if (compiled === undefined) {
      const nowMs = Math.floor(this.#options.clock.now());
      compiled = new CompiledLimits(limits, ({ counter }, limit) =>
        this.#tables.table(counter, limit, nowMs),
      );
      this.#compiled.set(limits, compiled);
    }
    return compiled;
  }

  readonly #count = (rule: CompiledRule, counting: Counting, key: string): void => {
    const { table } = counting;
    if (table === undefined) this.#global.push({ rule, counting, key });
    else {
      this.#localRules.push(rule);
      this.#localCountings.push(counting);
      const bucket = table.find(key, this.#owner, this.#nowMs);
      this.#tokens.look(bucket, table);
      this.#localBuckets.push(bucket);
    }
  };

  #judge(request: LimitedRequest): Verdict | Promise<Verdict> {
    const refused = this.#refuseLocal();
    if (refused !== undefined) return refused;
    const isShared = this.#global.length > 0;
    const undo = isShared || this.#tokens.areShared ? new Array<() => void>() : undefined;
    const late = this.#takeLocal(undo);
    if (late !== undefined) return late;
    this.#admitLocal(request);
    return isShared ? this.#judgeGlobal(request, [...this.#global], undo ?? []) : undefined;
  }

  #refuseLocal(): Verdict {
    for (let index = 0; index < this.#localRules.length; index++) {
      const rule = this.#localRules[index];
      const counting = this.#localCountings[index];
      const bucket = this.#localBuckets[index];
      if (rule === undefined || counting === undefined || bucket === undefined) continue;
      if (rule.rule.shadow) continue;
      if (hasTokens(bucket, counting.limit, rule.rule.cost)) continue;
      this.#metrics.count(rule, 'limited');
      return rateLimited({ rule, counting, taken: bucket.taken });
    }
    return undefined;
  }

  /**
   * @param undo gets what gives everything back.
   * @returns what refuses the request after all: another thread has taken the last tokens since refuseLocal().
   */
  #takeLocal(undo: (() => void)[] | undefined): Verdict {
    for (let index = 0; index < this.#localRules.length; index++) {
      const rule = this.#localRules[index];
      const counting = this.#localCountings[index];
      const bucket = this.#localBuckets[index];
      if (rule === undefined || counting?.table === undefined || bucket === undefined) continue;
      const { table } = counting;
      const { cost, shadow } = rule.rule;
      const taken = this.#tokens.take(bucket, table, cost);
      this.#localTaken.push(taken);
      if (taken) {
        undo?.push(() => {
          this.#tokens.giveBack(bucket, table, cost);
        });
      } else if (!shadow) {
        this.#metrics.count(rule, 'limited');
        return refuse(rateLimited({ rule, counting, taken: bucket.taken }), undo ?? []);
      }
    }
    return undefined;
  }

  #admitLocal(request: LimitedRequest): void {
    for (let index = 0; index < this.#localRules.length; index++) {
      const rule = this.#localRules[index];
      const counting = this.#localCountings[index];
      const bucket = this.#localBuckets[index];
      if (rule === undefined || counting === undefined || bucket === undefined) continue;
      this.#admit(request, rule, counting.limit, bucket.taken, this.#localTaken[index] === true);
    }
  }

  #judgeGlobal(
    request: LimitedRequest,
    counts: readonly GlobalCount[],
    undo: readonly (() => void)[],
  ): Verdict | Promise<Verdict> {
    const asking = this.#shared?.take(
      counts.map(({ rule: { rule }, counting: { limit }, key }) => ({
        ...{ counter: rule.counter, key, limit, cost: rule.cost, enforced: !rule.shadow },
      })),
    );
    if (asking === undefined) return this.#uncounted(counts, undo);
    return asking.then((answers) =>
      answers === undefined
        ? this.#uncounted(counts, undo)
        : this.#counted(request, counts, answers, undo),
    );
  }

  #counted(
    request: LimitedRequest,
    counts: readonly GlobalCount[],
    answers: readonly SharedAnswer[],
    undo: readonly (() => void)[],
  ): Verdict {
    const standings = counts.map(({ rule, counting }, index) => {
      const answer = answers[index];
      return {
        ...{ rule, counting, taken: answer?.taken ?? Infinity },
        hadTokens: answer?.hadTokens ?? false,
      };
    });
    const refusing = standings.find(({ rule, hadTokens }) => !hadTokens && !rule.rule.shadow);
    if (refusing !== undefined) {
      this.#metrics.count(refusing.rule, 'limited');
      return refuse(rateLimited(refusing), undo);
    }
    for (const { rule, counting, taken, hadTokens } of standings)
      this.#admit(request, rule, counting.limit, taken, hadTokens);
    return undefined;
  }

  /** Each policy has said what becomes of a request then; one that refuses is enough. */
  #uncounted(counts: readonly GlobalCount[], undo: readonly (() => void)[]): Verdict {
    const refusing = counts.find(({ rule: { of, rule } }) => !of.failOpen && !rule.shadow);
    if (refusing !== undefined) {
      this.#metrics.count(refusing.rule, 'failed_closed');
      return refuse(notCounted(refusing.rule.of.policy), undo);
    }
    for (const { rule } of counts) this.#metrics.count(rule, 'failed_open');
    return undefined;
  }

  #admit(
    request: LimitedRequest,
    rule: CompiledRule,
    limit: TokenLimit,
    taken: number,
    hadTokens: boolean,
  ): void {
    this.#metrics.count(rule, hadTokens ? 'admitted' : 'shadow_limited');
    if (!rule.of.tellsClients || rule.rule.shadow) return;
    // Of several limits the client is told the one that it meets first.
    const told = request.rateLimitFields;
    if (told === undefined || tokensLeft(taken, limit) < Number(told[REMAINING]))
      request.rateLimitFields = standingFields(limit, taken);
  }

  [Symbol.dispose](): void {
    this.#shared?.[Symbol.dispose]();
  }
}

/** Where standingFields() has what is left. */
const REMAINING = 3;

function refuse(reply: LocalReply, undo: readonly (() => void)[]): LocalReply {
  for (const giveBack of undo) giveBack();
  return reply;
}

/** The head of a response with what it tells of rate limits. */
export function tellRateLimits(
  { rateLimitFields }: Pick<LimitedRequest, 'rateLimitFields'>,
  list: HeaderList,
): HeaderList {
  return rateLimitFields === undefined ? list : [...list, ...rateLimitFields];
}
