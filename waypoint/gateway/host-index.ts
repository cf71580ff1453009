/** No host name of the DNS is longer: what is longer can be meant by no name and no wildcard. */
const MAX_HOSTNAME = 253;

/**
 * Values by patterns of host names. Of those that mean a name, the more exact comes first: the name itself, then the
 * longest wildcard, then '' for all names.
 */
export class HostIndex<T> {
  readonly #exact = new Map<string, T>();
  /** By what follows the `*`, with its dot. */
  readonly #wildcards = new Map<string, T>();
  #any: T | undefined;

  /** @param patterns in lower case; one that is there already is replaced. */
  constructor(entries: Iterable<readonly [pattern: string, value: T]>) {
    for (const [pattern, value] of entries)
      if (pattern === '') this.#any = value;
      else if (pattern.startsWith('*.')) this.#wildcards.set(pattern.slice(1), value);
      else this.#exact.set(pattern, value);
  }

  /** The value of the most exact pattern that means the name. */
  get(hostname: string): T | undefined {
    return this.first(hostname, (value) => value);
  }

  /**
   * Asks the values of all patterns that mean the name, the most exact first, until one has an answer.
   *
   * @param hostname in lower case, without a port.
   */
  first<R>(hostname: string, ask: (value: T) => R | undefined): R | undefined {
    if (hostname.length <= MAX_HOSTNAME) {
      const exact = this.#exact.get(hostname);
      const found = exact === undefined ? undefined : ask(exact);
      if (found !== undefined) return found;
      if (this.#wildcards.size > 0) {
        // Not from the first character on: a wildcard stands for one label at least.
        for (let dot = hostname.indexOf('.', 1); dot >= 0; dot = hostname.indexOf('.', dot + 1)) {
          const wildcard = this.#wildcards.get(hostname.slice(dot));
          const answer = wildcard === undefined ? undefined : ask(wildcard);
          if (answer !== undefined) return answer;
        }
      }
    }
    return this.#any === undefined ? undefined : ask(this.#any);
  }
}
