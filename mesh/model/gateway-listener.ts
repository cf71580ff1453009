import type { Brand } from '../../base/brand.ts';
import type { HttpRoutes, TcpRoute } from './http-route.ts';
import type { RateLimit } from './rate-limit.ts';

/** A gateway by its Gateway: `<namespace>/<name>`. */
export type GatewayKey = Brand<string, 'GatewayKey'>;

export function gatewayKey(namespace: string, name: string): GatewayKey {
  return `${namespace}/${name}` as GatewayKey;
}

/** All that a gateway listens for; two listeners of one port differ by their host names. */
export type GatewayListeners = Readonly<{
  gateway: GatewayKey;
  listeners: readonly GatewayListener[];
  /** What is shown to backends whose TLS asks for a certificate. */
  clientCertificate?: ListenerCertificate;
  /** What counts the requests of all its listeners, whatever service they go to; every one must let a request pass. */
  limits?: readonly RateLimit[];
}>;

/** One listener of a Gateway, with the routes that are attached to it. */
export type GatewayListener = Readonly<{
  /** For log and explanations: the listener's name, `<ListenerSet's namespace>/<name>/<listener>` of one in a ListenerSet. */
  name: string;
  port: number;
  /** In lower case; `*.` before it stands for one or more labels, '' for every name. */
  hostname: string;
  serves: ListenerService;
  /** What clients speak TLS with; absent: plain text, or TLS that is passed on as it is. */
  tls?: ListenerTls;
}>;

export type ListenerService = Readonly<
  /** Requests: HTTP, and HTTPS with `tls`. */
  | { kind: 'http'; hosts: readonly HostRoutes[] }
  /** Connections: TCP, and TLS that ends here with `tls`. Without a host name that fits they are refused. */
  | { kind: 'tcp'; hosts: readonly HostConnections[] }
  /** TLS that goes on to the backend as it is, by the name in its first message. */
  | { kind: 'passthrough'; hosts: readonly HostConnections[] }
  | { kind: 'udp'; route?: TcpRoute }
>;

/** The rules for requests to some host names, each as a listener's; no name stands in two of a listener. */
export type HostRoutes = Readonly<{ hostnames: readonly string[]; routes: HttpRoutes }>;

/** The same for connections: by the name that the client asks for in its handshake; without TLS only '' is asked for. */
export type HostConnections = Readonly<{ hostnames: readonly string[]; route: TcpRoute }>;

/** How TLS ends at a listener. Holds keys: it goes into no log, dump or error. */
export type ListenerTls = Readonly<{
  /** The first of those that fit the name that a client asks for is shown; without any that fits, the first. Never empty. */
  certificates: readonly ListenerCertificate[];
  /** What clients show; absent: they are not asked. */
  clients?: ClientValidation;
}>;

/** PEM: the chain from the certificate itself on, and its private key. */
export type ListenerCertificate = Readonly<{ chainPem: string; keyPem: string }>;

export type ClientValidation = Readonly<{
  /** PEM: who signs the certificates of clients. */
  rootsPem: string;
  /** `valid`: a client without a valid certificate is refused; `any`: it is asked for one, and served without it too. */
  accepts: 'valid' | 'any';
}>;

/**
 * Whether a host name is one of those that a pattern of listeners and routes means. A wildcard means names with one or
 * more labels in its place, and the same or a narrower wildcard.
 *
 * @param pattern '' means every name.
 */
export function hostnameMatches(pattern: string, hostname: string): boolean {
  if (pattern === '' || pattern === hostname) return true;
  return pattern.startsWith('*.') && hostname.endsWith(pattern.slice(1));
}

/**
 * The names that both patterns mean: the narrower of the two; `undefined` when there are none.
 */
export function intersectHostnames(one: string, other: string): string | undefined {
  if (hostnameMatches(one, other)) return other;
  return hostnameMatches(other, one) ? one : undefined;
}
