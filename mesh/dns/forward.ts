import { randomInt } from 'node:crypto';
import type { SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { cacheKey, type DnsCache } from './cache.ts';
import { encodeUpstreamQuery } from './encode.ts';
import { decodeResponse, FLAG, type DnsQuery, type DnsResponse } from './message.ts';
import type { ResolverSockets } from './sockets.ts';
import { MessageStream } from './stream.ts';

export type ForwarderOptions = Readonly<{
  /** In the order in which they are asked. */
  resolvers: readonly SocketAddress[];
  sockets: ResolverSockets;
  cache: DnsCache;
  /** 5 s unless told otherwise: for all resolvers together. */
  timeoutMs?: number;
  /** 256 unless told otherwise. */
  maxInFlight?: number;
}>;

type Received = Readonly<{ message: Buffer; response: DnsResponse }>;

/** istio/ztunnel's limit for a resolver. */
const DEFAULT_TIMEOUT_MS = 5_000;
const DEFAULT_MAX_IN_FLIGHT = 256;
/** A resolver is asked at least twice, because datagrams get lost. */
const MIN_TRIES = 2;
const MAX_TRIES = 3;
/** Messages that are no answer to what was asked; so many are a forger's, and the next try has another port. */
const MAX_FORGED = 16;

/** Asks resolvers in the name of one pod, with a new port and id for every try. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  /** One query for all who ask the same: many at once would make a forged answer likelier to fit one (RFC 5452). */
  readonly #asked = new Map<string, Promise<Received>>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /**
   * An answer from the cache or from a resolver; its id and the case of its name are not the query's.
   *
   * @throws {MeshError} ERR_DNS_UPSTREAM when no resolver answers in time, ERR_DNS_BUSY when too many are asked.
   */
  async ask(query: DnsQuery): Promise<Buffer> {
    const cached = this.#options.cache.get(query);
    if (cached !== undefined) return cached;
    const key = cacheKey(query);
    let asking = this.#asked.get(key);
    if (asking === undefined) {
      const { maxInFlight = DEFAULT_MAX_IN_FLIGHT } = this.#options;
      if (this.#asked.size >= maxInFlight)
        throw new MeshError('ERR_DNS_BUSY', 'local', `Cannot ask more than ${maxInFlight} names`);
      asking = this.#askAll(query).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asking);
    }
    const { message } = await asking;
    return Buffer.from(message);
  }

  async #askAll(query: DnsQuery): Promise<Received> {
    const { resolvers, timeoutMs = DEFAULT_TIMEOUT_MS, cache } = this.#options;
    const startMs = performance.now();
    const tries = Math.min(MAX_TRIES, Math.max(MIN_TRIES, resolvers.length));
    let cause: unknown = new Error('no resolver is configured');
    for (let index = 0; index < tries; index++) {
      const to = resolvers[index % resolvers.length];
      if (to === undefined) break;
      // What is left is shared evenly among the tries that are left.
      const leftMs = timeoutMs - (performance.now() - startMs);
      if (leftMs <= 0) break;
      try {
        const received = await this.#askOne(query, to, leftMs / (tries - index), leftMs);
        cache.set(query, received.message, received.response);
        return received;
      } catch (error) {
        cause = error;
      }
    }
    const name = JSON.stringify(query.question.name.text);
    throw new MeshError('ERR_DNS_UPSTREAM', 'upstream', `Cannot resolve ${name}`, { cause });
  }

  async #askOne(
    query: DnsQuery,
    to: SocketAddress,
    tryMs: number,
    leftMs: number,
  ): Promise<Received> {
    const received = await this.#askUdp(query, to, tryMs);
    if ((received.response.flags & FLAG.truncated) === 0) return received;
    return await this.#askTcp(query, to, leftMs);
  }

  async #askUdp(query: DnsQuery, to: SocketAddress, timeoutMs: number): Promise<Received> {
    const { promise, resolve, reject } = Promise.withResolvers<Received>();
    const id = randomInt(0x10000);
    const socket = this.#options.sockets.openUdp(to);
    let forged = 0;
    socket.setHandler({
      onMessage: (bytes, from) => {
        const received =
          from.ip === to.ip && from.port === to.port ? accept(bytes, query, id) : undefined;
        if (received !== undefined) resolve(received);
        else if (++forged >= MAX_FORGED) reject(new Error('messages that are no answer'));
      },
      onError: reject,
    });
    const timer = setTimeout(() => {
      reject(new Error('no answer in time'));
    }, timeoutMs);
    try {
      socket.send(encodeUpstreamQuery(query, id), to);
      return await promise;
    } finally {
      clearTimeout(timer);
      socket.close();
    }
  }

  async #askTcp(query: DnsQuery, to: SocketAddress, timeoutMs: number): Promise<Received> {
    const startMs = performance.now();
    const stream = await this.#options.sockets.connectTcp(to, { timeoutMs });
    const { promise, resolve, reject } = Promise.withResolvers<Received>();
    const id = randomInt(0x10000);
    const messages = new MessageStream(stream, {
      onMessage: (message) => {
        const received = accept(message, query, id);
        if (received === undefined) reject(new Error('a message that is no answer'));
        else resolve(received);
      },
      onClose: () => {
        reject(new Error('the stream ended'));
      },
    });
    const timer = setTimeout(
      () => {
        reject(new Error('no answer in time'));
      },
      Math.max(1, timeoutMs - (performance.now() - startMs)),
    );
    try {
      messages.send(encodeUpstreamQuery(query, id));
      return await promise;
    } finally {
      clearTimeout(timer);
      messages.abort();
    }
  }
}

/** The message when it answers exactly this question under this id; whatever else comes is as if it had not. */
function accept(bytes: Buffer, query: DnsQuery, id: number): Received | undefined {
  try {
    const response = decodeResponse(bytes);
    const { question } = response;
    const same =
      response.id === id &&
      question.type === query.question.type &&
      question.class === query.question.class &&
      question.name.text === query.question.name.text;
    return same ? { message: Buffer.from(bytes), response } : undefined;
  } catch {
    return undefined;
  }
}
