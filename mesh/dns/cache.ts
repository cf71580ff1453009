import {
  FLAG,
  HEADER_BYTES,
  MAX_UDP_BYTES,
  RCODE,
  type DnsQuery,
  type DnsResponse,
} from './message.ts';

/** As istio/ztunnel's resolver has it. */
const MAX_ENTRIES = 4096;
/** Longer answers are rare; without this bound the cache could grow to 256 MiB. */
const MAX_ENTRY_BYTES = 4 * MAX_UDP_BYTES;
/** Every pod has a cache of its own, so a node with a hundred of them holds 200 MiB at most; usual answers all fit. */
const MAX_TOTAL_BYTES = 2 << 20;
/** What an entry costs beside its message: map slot, key, objects. */
const ENTRY_OVERHEAD_BYTES = 256;
const MAX_TTL_SECONDS = 86_400;
/** RFC 2308 section 5 recommends one to three hours at most; a mesh's names change sooner. */
const MAX_NEGATIVE_TTL_SECONDS = 300;

type Entry = Readonly<{
  message: Buffer;
  ttlOffsets: readonly number[];
  storedMs: number;
  expiresMs: number;
}>;

/** Answers of resolvers, kept as long as they say. */
export class DnsCache {
  /** In order of use, the oldest first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  readonly #now: () => number;

  /** @param now in milliseconds, never going back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A copy of the answer with its TTLs counted down. Its id and the case of its name are not the query's. */
  get(query: DnsQuery): Buffer | undefined {
    const key = cacheKey(query);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const nowMs = this.#now();
    if (entry.expiresMs <= nowMs) {
      this.#drop(key, entry);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const message = Buffer.from(entry.message);
    const ageSeconds = Math.floor((nowMs - entry.storedMs) / 1000);
    for (const at of entry.ttlOffsets)
      message.writeUInt32BE(Math.max(0, message.readUInt32BE(at) - ageSeconds), at);
    return message;
  }

  /** Keeps what says how long it holds: an answer by its records, a negative one by its SOA. */
  set(query: DnsQuery, message: Buffer, response: DnsResponse): void {
    const ttlSeconds = ttlOf(response);
    if (ttlSeconds <= 0 || message.length > MAX_ENTRY_BYTES) return;
    const key = cacheKey(query);
    const before = this.#entries.get(key);
    if (before !== undefined) this.#drop(key, before);
    this.#bytes += sizeOf(message);
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size < MAX_ENTRIES && this.#bytes <= MAX_TOTAL_BYTES) break;
      this.#drop(oldest, entry);
    }
    const storedMs = this.#now();
    this.#entries.set(key, {
      message: Buffer.from(message),
      ttlOffsets: response.ttlOffsets,
      ...{ storedMs, expiresMs: storedMs + ttlSeconds * 1000 },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= sizeOf(entry.message);
  }
}

function sizeOf(message: Buffer): number {
  return message.length + ENTRY_OVERHEAD_BYTES;
}

/** What makes two queries one: all that an answer may depend on. */
export function cacheKey(query: DnsQuery): string {
  const { question, edns } = query;
  const ednsKey = edns === undefined ? '-' : edns.dnssecOk ? 'do' : 'edns';
  const flags = query.flags & (FLAG.checkingDisabled | FLAG.recursionDesired);
  return `${question.type} ${question.class} ${flags} ${ednsKey} ${question.name.text}`;
}

/** Makes an answer that was given to another query the answer to this one: same name, other id and case. */
export function adoptAnswer(message: Buffer, query: DnsQuery): void {
  message.writeUInt16BE(query.id, 0);
  query.question.name.wire.copy(message, HEADER_BYTES);
}

function ttlOf(response: DnsResponse): number {
  if ((response.flags & FLAG.truncated) !== 0) return 0;
  const negative =
    response.rcode === RCODE.nxDomain || (response.rcode === RCODE.ok && response.answers === 0);
  if (negative) return Math.min(response.negativeTtlSeconds ?? 0, MAX_NEGATIVE_TTL_SECONDS);
  if (response.rcode !== RCODE.ok) return 0;
  return Math.min(response.minTtlSeconds ?? 0, MAX_TTL_SECONDS);
}
