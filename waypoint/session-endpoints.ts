import type { Endpoint } from './balance/endpoint.ts';
import { endpointMark } from './filters/session-token.ts';

/** Whatever sends to one target. */
export type SessionTarget = Readonly<{ sessions: SessionEndpoints }>;

/**
 * The endpoints of one target by their marks in clients' tokens. Made when the first session asks; an endpoint that a new
 * configuration leaves as it was is not hashed again.
 */
export class SessionEndpoints {
  readonly #target: string;
  readonly #all: () => readonly Endpoint[];
  readonly #marks = new WeakMap<Endpoint, string>();
  #byMark: ReadonlyMap<string, Endpoint> | undefined;

  /**
   * @param target the service, port and subset.
   * @param all the endpoints that there are, available or not.
   */
  constructor(target: string, all: () => readonly Endpoint[]) {
    this.#target = target;
    this.#all = all;
  }

  /** There are other endpoints. */
  forget(): void {
    this.#byMark = undefined;
  }

  /** `undefined` where no endpoint of this target has that mark. */
  find(mark: string): Endpoint | undefined {
    this.#byMark ??= new Map(this.#all().map((endpoint) => [this.markOf(endpoint), endpoint]));
    return this.#byMark.get(mark);
  }

  markOf(endpoint: Endpoint): string {
    let mark = this.#marks.get(endpoint);
    if (mark === undefined) {
      mark = endpointMark(this.#target, endpoint.state.key);
      this.#marks.set(endpoint, mark);
    }
    return mark;
  }
}
