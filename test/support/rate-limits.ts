import { parseIpAddress } from '../../base/address.ts';
import type { PolicyKey } from '../../mesh/model/authorization.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import type { RateLimit, RateLimitRule } from '../../mesh/model/rate-limit.ts';
import { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { encodeServiceRateLimits, SERVICE_RATE_LIMITS_TYPE } from '../../mesh/xds/codec-limits.ts';
import { systemClock, type Clock } from '../../net/clock.ts';
import { Downstream } from '../../waypoint/downstream.ts';
import type { SharedBucketsEvent } from '../../waypoint/rate-limit/redis.ts';
import type { LimitedRequest } from '../../waypoint/rate-limit/compiled-limits.ts';
import { RateLimiter } from '../../waypoint/rate-limit.ts';
import { RequestHead } from '../../waypoint/request-head.ts';
import { keyOf, makeService } from './workloads.ts';

export const WEB = makeService({ name: 'web' });
const WEB_KEY = keyOf('shop/web.shop.svc.cluster.local');

const EVERYTHING: RateLimitRule['match'] = {
  ...{ principals: [], namespaces: [], serviceAccounts: [], headers: [], methods: [] },
};

/** Ten a second of all requests together, where nothing else is said. */
export function limitRule(
  fields: Partial<Omit<RateLimitRule, 'match'>> & { match?: Partial<RateLimitRule['match']> } = {},
): RateLimitRule {
  const { match, ...rest } = fields;
  const name = fields.name ?? 'all';
  return {
    ...{ name, counter: `shop/limit/${name}`, key: [], cost: 1, shadow: false },
    limit: { requests: 10, perMs: 1000, burst: 10 },
    ...rest,
    match: { ...EVERYTHING, ...match },
  };
}

export function rateLimit(
  rules: readonly RateLimitRule[],
  fields: Partial<RateLimit> = {},
): RateLimit {
  return {
    policy: 'shop/limit' as PolicyKey,
    ...{ scope: 'local', failOpen: false, tellsClients: false, rules },
    ...fields,
  };
}

export type SentRequest = Readonly<{
  method?: string;
  path?: string;
  headers?: readonly string[];
  /** `<namespace>/<service account>`; '' for a client without an identity. */
  client?: string;
  address?: string;
  /** To a gateway, from outside of the mesh. */
  toGateway?: true;
}>;

export function limitedRequest(sent: SentRequest = {}): LimitedRequest {
  const { method = 'GET', path = '/', headers = [], client = 'shop/client' } = sent;
  const [namespace = '', account = ''] = client.split('/');
  const isStranger = sent.toGateway === true || client === '';
  const downstream = new Downstream({
    version: 'HTTP/2',
    remote: { ip: parseIpAddress(sent.address ?? '10.0.0.7'), port: 40_001 },
    local: { ip: parseIpAddress('10.96.0.10'), port: 80 },
    ...(sent.toGateway === true ? { edge: { scheme: 'http' } } : { service: WEB }),
    ...(!isStranger && {
      identity: parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`),
    }),
  });
  const pseudo = [':method', method, ':scheme', 'http', ':authority', 'web', ':path', path];
  const head = new RequestHead([...pseudo, ...headers], downstream);
  return { downstream, head, rateLimitFields: undefined };
}

/** A limiter with the configuration as it comes over the wire. */
export class TestLimiter implements Disposable {
  readonly metrics = new Metrics();
  readonly events: SharedBucketsEvent[] = [];
  readonly limiter: RateLimiter;
  readonly #store = new WaypointStore();
  #waiting: (() => void)[] = [];

  constructor(
    limits: readonly RateLimit[],
    options: Readonly<{
      clock?: Clock;
      redisUrl?: string;
      processMemory?: SharedArrayBuffer;
      gatewayLimits?: readonly RateLimit[];
    }> = {},
  ) {
    this.configure(limits);
    this.limiter = new RateLimiter({
      store: this.#store,
      clock: options.clock ?? systemClock,
      ...{ metrics: this.metrics, redisUrl: options.redisUrl },
      processMemory: options.processMemory,
      gatewayLimits: () => options.gatewayLimits,
      onEvent: (event) => {
        this.events.push(event);
        for (const wake of this.#waiting.splice(0)) wake();
      },
    });
  }

  configure(limits: readonly RateLimit[]): void {
    const bytes = encodeServiceRateLimits({ service: WEB_KEY, limits });
    const change = this.#store.apply(SERVICE_RATE_LIMITS_TYPE, [{ name: WEB_KEY, bytes }], []);
    if (change?.rejected.length !== 0) throw new Error(JSON.stringify(change?.rejected));
  }

  /** `pass`, or the status of the refusal. */
  async send(sent: SentRequest = {}): Promise<string> {
    const verdict = await this.limiter.limitRate(limitedRequest(sent));
    return verdict === undefined ? 'pass' : String(verdict.status);
  }

  /** As send(), and the answer must be there at once. */
  sendNow(sent: SentRequest = {}): string {
    const verdict = this.limiter.limitRate(limitedRequest(sent));
    if (verdict instanceof Promise) throw new Error('the answer has to be waited for');
    return verdict === undefined ? 'pass' : String(verdict.status);
  }

  /** How many of so many requests pass at once. */
  passing(count: number, sent: SentRequest = {}): number {
    return Array.from({ length: count }, () => this.sendNow(sent)).filter((it) => it === 'pass')
      .length;
  }

  async available(isAvailable: boolean): Promise<void> {
    const wanted = isAvailable ? 'available' : 'unavailable';
    while (this.events.at(-1)?.kind !== wanted)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Requests by outcome. */
  outcomes(): Record<string, number> {
    const family = this.metrics.snapshot().find(({ name }) => name.endsWith('requests_total'));
    if (family === undefined || family.kind === 'histogram') return {};
    return Object.fromEntries(family.series.map(({ labels, value }) => [labels[3] ?? '', value]));
  }

  [Symbol.dispose](): void {
    this.limiter[Symbol.dispose]();
  }
}
