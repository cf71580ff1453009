import { hash } from 'node:crypto';
import { Redis } from 'ioredis';
import { describeError } from '../../base/errors.ts';
import type { TokenLimit } from '../../mesh/model/rate-limit.ts';
import type { Clock } from '../../net/clock.ts';
import { TAKE_TOKENS, TAKE_TOKENS_SHA1 } from './take-tokens.ts';

/** One bucket of a request that is counted for all replicas together. */
export type SharedTake = Readonly<{
  counter: string;
  key: string;
  limit: TokenLimit;
  cost: number;
  /** Without the tokens the request is refused, and takes none of any bucket. */
  enforced: boolean;
}>;

/** `taken` as Bucket has it, after this request. */
export type SharedAnswer = Readonly<{ hadTokens: boolean; taken: number }>;

export type SharedBucketsEvent = Readonly<
  | { kind: 'unavailable'; reason: string }
  /** It answers, for the first time or again. */
  | { kind: 'available'; afterMs: number }
>;

/** A request may be held up by 50 ms: an answer that has not come by then is none, with 10 ms for timers that are late. */
const ANSWER_TIMEOUT_MS = 40;
/** So many requests in a row without an answer, and no further one waits for one. */
const MAX_FAILURES = 3;
/** How long none is asked for then, until a single request tries again. */
const OPEN_MS = 500;
/** A server that is silent for so long is dialled anew. */
const SILENCE_MS = 1000;
const CONNECT_TIMEOUT_MS = 1000;
const MAX_RETRY_MS = 500;
const KEY_PREFIX = 'halo:limit:';

/** Buckets in Redis, which all replicas take from. */
export class SharedBuckets implements Disposable {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #onEvent: (event: SharedBucketsEvent) => void;
  #failures = 0;
  /** Until then nobody is asked, while there are too many failures. */
  #openUntilMs = 0;
  /** Unknown at the beginning, so that the first answer, or its absence, is told. */
  #state: 'unknown' | 'available' | 'unavailable' = 'unknown';
  #sinceMs: number;

  /**
   * Begins to connect.
   *
   * @param url `redis://` or `rediss://`, with user, password and database where they are needed.
   */
  constructor(url: string, clock: Clock, onEvent: (event: SharedBucketsEvent) => void) {
    this.#clock = clock;
    this.#onEvent = onEvent;
    this.#sinceMs = clock.now();
    this.#redis = new Redis(url, {
      // A request is answered now or not at all, so nothing waits for a connection or is sent a second time.
      ...{ enableOfflineQueue: false, autoResendUnfulfilledCommands: false },
      ...{ maxRetriesPerRequest: 0, disableClientInfo: true },
      ...{ connectTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SILENCE_MS },
      retryStrategy: (attempt) => Math.min(MAX_RETRY_MS, attempt * 50),
    });
    let reason = 'the connection has ended';
    // Without a listener an error would end the process; what is broken by it rejects as well.
    this.#redis.on('error', (error) => {
      reason = describeError(error);
    });
    // Only now is nobody asked any more.
    this.#redis.on('close', () => {
      this.#report(reason);
    });
    this.#redis.on('ready', () => {
      // So that not each of the first requests has to say it. Where this fails, they do.
      this.#redis.script('LOAD', TAKE_TOKENS).catch(() => undefined);
      this.#succeed();
    });
  }

  /** Whether a request would be asked for. */
  get isAvailable(): boolean {
    if (this.#redis.status !== 'ready') return false;
    return this.#failures < MAX_FAILURES || this.#clock.now() >= this.#openUntilMs;
  }

  /**
   * Takes the tokens of one request. Never rejects.
   *
   * @returns an answer for each; `undefined` when there is none in time, and at once when none is to be expected.
   */
  take(takes: readonly SharedTake[]): Promise<readonly SharedAnswer[] | undefined> | undefined {
    if (!this.isAvailable) return undefined;
    // While this one tries, others need not.
    if (this.#failures >= MAX_FAILURES) this.#openUntilMs = this.#clock.now() + OPEN_MS;
    return this.#take(takes);
  }

  #take(takes: readonly SharedTake[]): Promise<readonly SharedAnswer[] | undefined> {
    const { promise, resolve } = Promise.withResolvers<readonly SharedAnswer[] | undefined>();
    let isOver = false;
    const end = (answers: readonly SharedAnswer[] | undefined, reason: string): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      if (answers === undefined) this.#fail(reason);
      else this.#succeed();
      resolve(answers);
    };
    const cancel = this.#clock.after(ANSWER_TIMEOUT_MS, () => {
      // Where it was us who were busy, the answer may lie in the socket: it is read before this runs.
      setImmediate(end, undefined, `no answer within ${ANSWER_TIMEOUT_MS} ms`);
    });
    this.#ask(takes).then(
      (answer) => {
        const answers = readAnswer(answer, takes.length);
        end(answers, 'an answer that is none');
      },
      (error: unknown) => {
        end(undefined, describeError(error));
      },
    );
    return promise;
  }

  async #ask(takes: readonly SharedTake[]): Promise<unknown> {
    const keys = takes.map(sharedKey);
    const amounts = takes.flatMap(({ limit, cost, enforced }) => [
      ...[limit.requests, limit.perMs, limit.burst, cost, enforced ? 1 : 0],
    ]);
    try {
      return await this.#redis.evalsha(TAKE_TOKENS_SHA1, keys.length, ...keys, ...amounts);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return await this.#redis.eval(TAKE_TOKENS, keys.length, ...keys, ...amounts);
    }
  }

  #succeed(): void {
    this.#failures = 0;
    if (this.#state === 'available') return;
    const nowMs = this.#clock.now();
    const afterMs = nowMs - this.#sinceMs;
    this.#state = 'available';
    this.#sinceMs = nowMs;
    this.#onEvent({ kind: 'available', afterMs });
  }

  #fail(reason: string): void {
    this.#failures++;
    if (this.#failures < MAX_FAILURES) return;
    this.#openUntilMs = this.#clock.now() + OPEN_MS;
    this.#report(reason);
  }

  /** Once for each time that it goes away. */
  #report(reason: string): void {
    if (this.#state === 'unavailable') return;
    this.#state = 'unavailable';
    this.#sinceMs = this.#clock.now();
    this.#onEvent({ kind: 'unavailable', reason });
  }

  [Symbol.dispose](): void {
    this.#redis.removeAllListeners('close');
    this.#redis.disconnect();
    // Its goodbye is not waited for: a server that is stopped would never say it. There is no stream before it has dialled.
    const { stream } = this.#redis as { stream?: Redis['stream'] };
    stream?.destroy();
  }
}

/**
 * What a bucket is called. Values of headers may be secrets, so that they are told by their hash; the limit is in it, for the
 * unit of what is stored depends on it.
 */
function sharedKey({ counter, key, limit }: SharedTake): string {
  const { requests, perMs, burst } = limit;
  const text = `${counter}\n${requests} ${perMs} ${burst}\n${key}`;
  return KEY_PREFIX + hash('sha256', text, 'base64url');
}

function readAnswer(answer: unknown, count: number): readonly SharedAnswer[] | undefined {
  if (!Array.isArray(answer) || answer.length !== 2 * count) return undefined;
  const numbers: readonly unknown[] = answer;
  const answers: SharedAnswer[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    const had = numbers[index];
    const taken = numbers[index + 1];
    if ((had !== 0 && had !== 1) || typeof taken !== 'number' || !(taken >= 0)) return undefined;
    answers.push({ hadTokens: had === 1, taken });
  }
  return answers;
}
