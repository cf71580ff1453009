import type { HttpRule } from '../mesh/model/http-route.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import type { Backend } from './backend.ts';
import type { HttpRequest, RequestObserver } from './http-request.ts';
import type { LocalReply } from './local-reply.ts';
import type { Deadlines } from './timeout.ts';
import type { UpstreamPool } from './upstream/pool.ts';

/** How a step ends: `undefined`, and the request goes on; or with the response. */
export type Verdict = LocalReply | undefined;

/** Where the rule sends a request. */
export type BackendChoice = Readonly<
  { kind: 'backend'; backend: Backend } | { kind: 'reply'; reply: LocalReply }
>;

export type RequestSettings = Readonly<{
  /** Overwrites the application's `server` field; `istio-envoy` is what Istio's users see. `undefined` leaves it. */
  server: string | undefined;
  /** An exchange on which nothing moves for so long is ended; `undefined`, as in Istio: never. */
  streamIdleMs: number | undefined;
  /** Protocols that a client may go on with. */
  upgrades: ReadonlySet<string>;
}>;

export const DEFAULT_SETTINGS: RequestSettings = {
  server: 'istio-envoy',
  streamIdleMs: undefined,
  upgrades: new Set(['websocket']),
};

/**
 * The steps of a request that are decided elsewhere, each with the configuration that the request began with, and what
 * all requests of a thread share. Steps that need not wait return at once, so that no request waits for a promise in vain.
 */
export interface RequestParts extends RequestObserver {
  readonly settings: RequestSettings;
  readonly pool: UpstreamPool;
  readonly deadlines: Deadlines;
  /** From 0 to below 1. */
  random(): number;

  /** Brings path and host into the one form that everything behind goes by, and refuses what has none. */
  normalise(request: HttpRequest): Verdict;
  /** External authorization, tokens, then policy. */
  authorize(request: HttpRequest): Verdict | Promise<Verdict>;
  limitRate(request: HttpRequest): Verdict | Promise<Verdict>;
  findRule(request: HttpRequest): HttpRule | undefined;
  /** Faults, CORS, then the rule's filters; they change the request's head. */
  filterRequest(request: HttpRequest, rule: HttpRule): Verdict | Promise<Verdict>;
  /** By weight; the backend's own filters are applied. */
  chooseBackend(request: HttpRequest, rule: HttpRule): BackendChoice;
  /** The fields that tell a trace; the last change of the head. */
  trace(request: HttpRequest): void;
  /** Begins the copies of a request that go elsewhere too. */
  mirror(request: HttpRequest): void;
  /** The head of an upstream's response as the client gets it; `:status` stays first. */
  filterResponse(request: HttpRequest, list: string[]): HeaderList;
}
