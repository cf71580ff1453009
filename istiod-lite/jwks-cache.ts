import { describeError } from '../base/errors.ts';
import type { Picture } from './snapshot.ts';
import { keySourceOf, type KeySource } from './translate/request-authentication.ts';

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

/** The key sets of issuers, fetched when they are first asked for and kept fresh. */
export class JwksCache implements Disposable {
  readonly #options: JwksCacheOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: JwksCacheOptions) {
    this.#options = options;
  }

  /** The keys as they were last fetched; a source that is new is fetched from now on. */
  get(source: KeySource): string | undefined {
    const key = keyOf(source);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.keys;
    const entry: Entry = {
      ...{ source, keys: undefined, fetchedMs: 0, retryMs: FIRST_RETRY_MS, closed: false },
      cancel: () => undefined,
    };
    this.#entries.set(key, entry);
    void this.#refresh(entry);
    return undefined;
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
    const wanted = new Set([...sources].map(keyOf));
    for (const [key, entry] of this.#entries) if (!wanted.has(key)) this.#close(key, entry);
  }

  [Symbol.dispose](): void {
    this.retain([]);
  }

  #close(key: string, entry: Entry): void {
    entry.closed = true;
    entry.cancel();
    this.#entries.delete(key);
  }

  async #refresh(entry: Entry): Promise<void> {
    const { fetch, now, onProblem, schedule } = this.#options;
    let delayMs = REFRESH_MS;
    try {
      const keys = await fetch(entry.source);
      if (entry.closed) return;
      entry.fetchedMs = now();
      entry.retryMs = FIRST_RETRY_MS;
      this.#set(entry, keys);
    } catch (error) {
      if (entry.closed) return;
      onProblem(describeError(error));
      if (entry.keys !== undefined && now() - entry.fetchedMs >= MAX_AGE_MS)
        this.#set(entry, undefined);
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

function keyOf(source: KeySource): string {
  return source.kind === 'uri' ? `uri ${source.uri}` : `issuer ${source.issuer}`;
}
