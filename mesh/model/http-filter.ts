import type { PathRewrite, PathSubstitution } from './path-rewrite.ts';
import type { Redirect } from './redirect.ts';
import type { ServiceKey } from './service.ts';

export type HeaderField = Readonly<{ name: string; value: string }>;

/** Changes of a message's header fields; names in lower case. Set comes first, then add, then remove. */
export type HeaderChanges = Readonly<{
  set: readonly HeaderField[];
  /** Joined to what is there by a comma. */
  add: readonly HeaderField[];
  remove: readonly string[];
}>;

/** A part of the requests: `numerator` of `denominator`. */
export type Fraction = Readonly<{ numerator: number; denominator: number }>;

/** Where a request may go: a port of a service, or of one of its subsets. */
export type BackendTarget = Readonly<{ service: ServiceKey; port: number; subset?: string }>;

export type CorsOrigin = Readonly<{
  kind: 'exact' | 'prefix' | 'regex' | 'wildcard';
  value: string;
}>;

export type CorsPolicy = Readonly<{
  /** `wildcard`: `*`, or an origin with `*` in the left part of its host. */
  allowOrigins: readonly CorsOrigin[];
  allowMethods: readonly string[];
  allowHeaders: readonly string[];
  exposeHeaders: readonly string[];
  allowCredentials: boolean;
  maxAgeSeconds: number;
  /** A preflight whose origin is not allowed goes on to the backend; otherwise it is answered here. */
  forwardUnmatchedPreflights: boolean;
}>;

/** What a rule or a backend does to a request or its response, in order. */
export type HttpFilter = Readonly<
  | { kind: 'request-headers'; changes: HeaderChanges }
  | { kind: 'response-headers'; changes: HeaderChanges }
  | { kind: 'rewrite'; hostname?: string; path?: PathRewrite | PathSubstitution }
  | { kind: 'redirect'; redirect: Redirect }
  | { kind: 'mirror'; backend: BackendTarget; share: Fraction }
  | { kind: 'cors'; cors: CorsPolicy }
  | { kind: 'delay'; delayMs: number; share: Fraction }
  | { kind: 'abort'; status: number; grpcStatus?: number; share: Fraction }
  /** Answered here; also what a filter that cannot be done becomes (500), because it may never be left out. */
  | { kind: 'respond'; status: number; body: string; reason: string }
>;
