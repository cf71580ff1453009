import type { Sandbox } from '../../cli/sandbox.ts';
import { withDeadline } from './deadline.ts';

const RECORD_TIMEOUT_MS = 10_000;

/** One line of an access log, by the names of Istio's ztunnel, and the node whose proxy wrote it. */
export type AccessRecord = Readonly<
  LogRecord & { node: string; direction?: 'inbound' | 'outbound'; error?: string }
>;

/** One line of a program's log. */
export type LogRecord = Readonly<Record<string, unknown> & { time?: unknown; duration?: unknown }>;

/** The values that a record must have; a pattern is searched in the value. */
export type RecordPattern = Readonly<Record<string, string | number | RegExp | undefined>>;

/** A record's time and a mark are cut to whole milliseconds, and its duration is rounded: less than two of them together. */
const CLOCK_MS = 1;

/**
 * Whether a record is of a connection that began at a mark (of `Date.now()`) or after it. When it was written says less: an
 * access log's lines may wait for one another, and a proxy may see the end of a connection later than its client.
 */
export function beganSince(record: LogRecord, mark: number): boolean {
  const writtenMs = typeof record.time === 'string' ? Date.parse(record.time) : Number.NaN;
  if (Number.isNaN(writtenMs))
    throw new Error(`a record without a time: ${JSON.stringify(record)}`);
  const { duration } = record; // what is refused at once has none
  const durationMs = typeof duration === 'string' ? Number.parseInt(duration) : 0;
  return writtenMs - durationMs >= mark - CLOCK_MS;
}

/** What the proxies of a mesh say of connections, as they say it. */
export class AccessRecords {
  readonly #records: AccessRecord[] = [];
  readonly #events = new EventTarget();
  readonly #abort = new AbortController();

  /** Follows a node's log from its beginning. */
  follow(sandbox: Sandbox, node: string): void {
    const decoder = new TextDecoder();
    let rest = '';
    const take = (chunk: Uint8Array): void => {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(node, line);
    };
    const query = { part: `ztunnel-${node}`, follow: true };
    // It ends with the sandbox.
    sandbox.stream('/v1/logs', query, take, this.#abort.signal).catch(() => undefined);
  }

  /** The records so far of connections that began since a mark, which is of `Date.now()`. */
  since(mark: number): AccessRecord[] {
    return this.#records.filter((record) => beganSince(record, mark));
  }

  /** The first record since the mark that fits, as soon as it is written. */
  async first(pattern: RecordPattern, mark: number): Promise<AccessRecord> {
    const { promise, resolve } = Promise.withResolvers<AccessRecord>();
    const look = (): void => {
      const found = this.since(mark).find((record) => fits(record, pattern));
      if (found !== undefined) resolve(found);
    };
    this.#events.addEventListener('record', look);
    try {
      look();
      return await withDeadline(promise, RECORD_TIMEOUT_MS, () => this.#missing(pattern, mark));
    } finally {
      this.#events.removeEventListener('record', look);
    }
  }

  /** Resolves when so many that fit have been written since the mark, and answers with them. */
  async all(pattern: RecordPattern, mark: number, count: number): Promise<AccessRecord[]> {
    const { promise, resolve } = Promise.withResolvers<AccessRecord[]>();
    const look = (): void => {
      const found = this.since(mark).filter((record) => fits(record, pattern));
      if (found.length >= count) resolve(found);
    };
    this.#events.addEventListener('record', look);
    try {
      look();
      return await withDeadline(promise, RECORD_TIMEOUT_MS, () => this.#missing(pattern, mark));
    } finally {
      this.#events.removeEventListener('record', look);
    }
  }

  /** All of them so far, which are forgotten. */
  take(): AccessRecord[] {
    return this.#records.splice(0);
  }

  close(): void {
    this.#abort.abort();
  }

  #take(node: string, line: string): void {
    if (!line.startsWith('{') || !line.includes('"scope":"access"')) return;
    this.#records.push({ ...(JSON.parse(line) as Record<string, unknown>), node });
    this.#events.dispatchEvent(new Event('record'));
  }

  #missing(pattern: RecordPattern, mark: number): string {
    const wanted = Object.entries(pattern).map(([key, value]) => `${key}=${String(value)}`);
    const seen = this.since(mark).map((record) => JSON.stringify(record));
    return `an access record with ${wanted.join(' ')}; there are ${seen.length}\n${seen.slice(-8).join('\n')}`;
  }
}

function fits(record: AccessRecord, pattern: RecordPattern): boolean {
  return Object.entries(pattern).every(([key, wanted]) => {
    const found = record[key];
    if (wanted instanceof RegExp) return typeof found === 'string' && wanted.test(found);
    return found === wanted;
  });
}
