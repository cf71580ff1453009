import { describeError } from '../base/errors.ts';
import type { KeySetFiles } from './key-set-files.ts';
import type { Picture } from './snapshot.ts';
import {
  formatKeySource,
  keySourceOf,
  type KeySource,
} from './translate/request-authentication.ts';

/** 20 min, as istio/istio PILOT_JWT_PUB_KEY_REFRESH_INTERVAL. */
const REFRESH_MS = 20 * 60_000;
/** 1 min growing to 60 min, as istio/istio pilot/pkg/model/jwks_resolver.go. */
const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 60 * 60_000;
/** Keys that could not be fetched anew for 7 days are believed no longer; the same file. */
const MAX_AGE_MS = 7 * 24 * 60 * 60_000;

export type JwksCacheOptions = Readonly<{
  fetch: (source: KeySource) => Promise<string>;
  /** The keys of a source are other ones, or are there no longer. */
  onChange: (source: KeySource, keys: string | undefined) => void;
  /** Told once for each failed attempt; the last good keys stay. */
  onProblem: (message: string) => void;
  /** Holds the last good keys over a restart. */
  files: KeySetFiles;
  /** Milliseconds since 1970. */
  now: () => number;
  /** Calls back later, and returns what takes that back. */
  schedule: (call: () => void, delayMs: number) => () => void;
}>;

type Entry = {
  readonly source: KeySource;
  keys: string | undefined;
  fetchedMs: number;
  retryMs: number;
  cancel: () => void;
  closed: boolean;
};

/** The key sets of issuers: what an earlier life kept, fetched when they are first asked for and kept fresh. */
export class JwksCache implements Disposable {
  readonly #options: JwksCacheOptions;
  readonly #entries = new Map<string, Entry>();
  #disposed = false;

  constructor(options: JwksCacheOptions) {
    this.#options = options;
  }

  /** The keys as they were last fetched, by this life or an earlier one; a source that is new is fetched from now on. */
  get(source: KeySource): string | undefined {
    const key = formatKeySource(source);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.keys;
    const entry: Entry = {
      ...{ source, keys: undefined, fetchedMs: 0, retryMs: FIRST_RETRY_MS, closed: false },
      cancel: () => undefined,
    };
    this.#entries.set(key, entry);
    this.#recall(entry);
    void this.#refresh(entry);
    return entry.keys;
  }

  /** Fetches what the policies of a picture need, and nothing else any more. */
  follow(picture: Picture): void {
    const sources: KeySource[] = [];
    for (const { spec } of picture.all('RequestAuthentication'))
      for (const rule of spec.jwtRules) {
        const source = keySourceOf(rule);
        if (source !== undefined) sources.push(source);
      }
    for (const source of sources) this.get(source);
    this.retain(sources);
  }

  /** Forgets the sources that nothing asks for any more. */
  retain(sources: Iterable<KeySource>): void {
    const wanted = new Set([...sources].map(formatKeySource));
    for (const [key, entry] of this.#entries) {
      if (wanted.has(key)) continue;
      this.#close(key, entry);
      this.#options.files.forget(entry.source);
      // Where they are named again they would have no age by which they end.
      this.#set(entry, undefined);
    }
  }

  /** Forgets what an earlier life kept of sources that nothing has asked for: only once the whole picture was followed. */
  forgetOthers(): void {
    if (this.#disposed) return;
    this.#options.files.retain([...this.#entries.values()].map(({ source }) => source));
  }

  /** What is kept for the next life stays. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const [key, entry] of this.#entries) this.#close(key, entry);
  }

  #close(key: string, entry: Entry): void {
    entry.closed = true;
    entry.cancel();
    this.#entries.delete(key);
  }

  #recall(entry: Entry): void {
    const { files, now } = this.#options;
    const kept = files.read(entry.source);
    if (kept === undefined) return;
    // A time to come is of a clock that was wrong: keys must not last longer by it than others do.
    const nowMs = now();
    entry.fetchedMs = Math.min(kept.fetchedMs, nowMs);
    if (nowMs - entry.fetchedMs >= MAX_AGE_MS) {
      files.forget(entry.source);
      return;
    }
    if (kept.fetchedMs > nowMs) files.keep(entry.source, { keys: kept.keys, fetchedMs: nowMs });
    this.#set(entry, kept.keys);
  }

  async #refresh(entry: Entry): Promise<void> {
    const { fetch, files, now, onProblem, schedule } = this.#options;
    let delayMs = REFRESH_MS;
    try {
      const keys = await fetch(entry.source);
      if (entry.closed) return;
      entry.fetchedMs = now();
      entry.retryMs = FIRST_RETRY_MS;
      files.keep(entry.source, { keys, fetchedMs: entry.fetchedMs });
      this.#set(entry, keys);
    } catch (error) {
      if (entry.closed) return;
      onProblem(describeError(error));
      if (entry.keys !== undefined && now() - entry.fetchedMs >= MAX_AGE_MS) {
        this.#set(entry, undefined);
        files.forget(entry.source);
      }
      delayMs = entry.retryMs;
      entry.retryMs = Math.min(entry.retryMs * 2, MAX_RETRY_MS);
    }
    entry.cancel = schedule(() => void this.#refresh(entry), delayMs);
  }

  #set(entry: Entry, keys: string | undefined): void {
    if (entry.keys === keys) return;
    entry.keys = keys;
    this.#options.onChange(entry.source, keys);
  }
}
