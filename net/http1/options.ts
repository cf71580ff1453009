import { type Clock, systemClock } from '../clock.ts';
import { DEFAULT_LIMITS, type Http1Limits } from './limits.ts';

export type Http1Parameters = Readonly<{
  limits: Http1Limits;
  /** Of the connection: `http`, or `https` over TLS that the other side knows of. */
  scheme: 'http' | 'https';
  /** Server: answers HTTP/1.0 too, one request a connection; otherwise 426. */
  allowHttp10: boolean;
  /** Server: for a head, from its first byte to its last; then 408 (attack S12). */
  headTimeoutMs: number;
  /** Without a request. */
  idleTimeoutMs: number;
  /** Server: without a byte of a body that is asked for. */
  bodyTimeoutMs: number;
  /** While the peer takes nothing of what waits for it. */
  writeTimeoutMs: number;
  /** Client: for `100 Continue`, before the body is sent without. */
  continueTimeoutMs: number;
  clock: Clock;
}>;

export type Http1Options = Partial<Http1Parameters>;

const DEFAULTS: Http1Parameters = {
  limits: DEFAULT_LIMITS,
  scheme: 'http',
  allowHttp10: false, // as Istio
  headTimeoutMs: 10_000, // attack S12
  idleTimeoutMs: 3_600_000, // as Envoy idle_timeout
  bodyTimeoutMs: 300_000, // as Envoy stream_idle_timeout
  writeTimeoutMs: 300_000, // the same
  continueTimeoutMs: 1000, // as curl; RFC 9110 section 10.1.1: not indefinitely
  clock: systemClock,
};

export function completeOptions(options: Http1Options): Http1Parameters {
  return { ...DEFAULTS, ...options };
}
