/** A response that was sent and not answered yet. */
type InFlight = Readonly<{
  nonce: string;
  typeUrl: string;
  /** The oldest revision that it may be the first to bring. */
  from: number;
  names: readonly string[];
}>;

/** What a proxy refused and has not taken since. */
export type Rejection = Readonly<{
  typeUrl: string;
  revision: number;
  /** The resources of the refused response; those that the message names, where it names any. */
  names: ReadonlySet<string>;
  message: string;
}>;

/** A message of a proxy is cut to this length; it goes into status and logs. */
const MAX_MESSAGE = 2048;
const MAX_REJECTIONS = 100;
/** Responses that a proxy has not answered; one is usual. */
const MAX_IN_FLIGHT = 32;

/** Which revisions one proxy has: what was sent to it, what it took, and what it refused. */
export class Delivery {
  #inFlight: InFlight[] = [];
  #rejections: Rejection[] = [];
  /** What is to be sent, with the oldest revision that it may be the first to bring. */
  readonly #waiting = new Map<object, number>();

  /** Something of the revision is to be sent; what waits already keeps its place. */
  waits(what: object, revision: number): void {
    if (!this.#waiting.has(what)) this.#waiting.set(what, revision);
  }

  /** What waited was sent; `partly`: there is more of it, which waits on. */
  sent(
    what: object,
    response: Readonly<{
      typeUrl: string;
      nonce: string;
      names: readonly string[];
      partly?: boolean;
    }>,
  ): void {
    const from = this.#waiting.get(what);
    if (response.partly !== true) this.#waiting.delete(what);
    if (from === undefined) return;
    const { typeUrl, nonce, names } = response;
    this.#inFlight.push({ typeUrl, nonce, names, from });
    if (this.#inFlight.length > MAX_IN_FLIGHT) this.#joinOldest(typeUrl);
  }

  /** The proxy took a response. An answer to a later one counts for those before it. */
  acknowledged(typeUrl: string, nonce: string): boolean {
    const answered = this.#answer(typeUrl, nonce);
    if (answered.length === 0) return false;
    if (this.#rejections.length > 0)
      this.#forget(typeUrl, new Set(answered.flatMap(({ names }) => names)));
    return true;
  }

  /** The proxy refused something of a response. */
  rejected(
    typeUrl: string,
    nonce: string,
    message: string,
    revision: number,
  ): Rejection | undefined {
    const answered = this.#answer(typeUrl, nonce);
    const last = answered.at(-1);
    if (last === undefined) return undefined;
    const mentioned = last.names.filter((name) => message.includes(name));
    const names = new Set(mentioned.length > 0 ? mentioned : last.names);
    const rejection = { typeUrl, revision, names, message: message.slice(0, MAX_MESSAGE) };
    // What is refused again is remembered once, with its last reason.
    this.#forget(typeUrl, names);
    this.#rejections = [...this.#rejections, rejection].slice(-MAX_REJECTIONS);
    return rejection;
  }

  rejections(): readonly Rejection[] {
    return this.#rejections;
  }

  /** The revision up to which the proxy has answered everything, given the current one. */
  answeredRevision(current: number): number {
    const open = [...this.#waiting.values(), ...this.#inFlight.map(({ from }) => from)];
    return Math.min(current, ...open.map((from) => from - 1));
  }

  /** A proxy that reads and never answers is remembered by its first unanswered revision and its last responses. */
  #joinOldest(typeUrl: string): void {
    const [oldest, second] = this.#inFlight.filter((each) => each.typeUrl === typeUrl);
    if (oldest === undefined || second === undefined) return;
    this.#inFlight = this.#inFlight
      .filter((each) => each !== oldest)
      .map((each) => (each === second ? { ...second, from: oldest.from } : each));
  }

  #forget(typeUrl: string, taken: ReadonlySet<string>): void {
    this.#rejections = this.#rejections
      .map((each) =>
        each.typeUrl === typeUrl ? { ...each, names: each.names.difference(taken) } : each,
      )
      .filter(({ names }) => names.size > 0);
  }

  #answer(typeUrl: string, nonce: string): InFlight[] {
    const at = this.#inFlight.findIndex((each) => each.nonce === nonce && each.typeUrl === typeUrl);
    if (at < 0) return [];
    const answered = this.#inFlight.slice(0, at + 1).filter((each) => each.typeUrl === typeUrl);
    this.#inFlight = this.#inFlight.filter((each) => !answered.includes(each));
    return answered;
  }
}
