import type { EndpointEvent } from '../mesh/model/endpoint-report.ts';

/** Older ones are in the log. */
const MAX_EVENTS = 256;

/** The last things that happened to endpoints, of all threads. */
export class EndpointEvents {
  readonly #events: EndpointEvent[] = [];

  add(event: EndpointEvent): void {
    this.#events.push(event);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
  }

  /** The oldest first. */
  all(): readonly EndpointEvent[] {
    return this.#events;
  }
}
