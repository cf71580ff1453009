import { DEFAULT_TRAFFIC_POLICY } from '../../mesh/model/traffic-policy.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import type { Backend } from '../backend.ts';
import type { HttpVersion } from '../downstream.ts';
import { EndpointState } from '../endpoint-state.ts';
import type { PoolLimits, UpstreamVersion } from './endpoint-pool.ts';
import type { UpstreamEndpoint } from './endpoint.ts';
import { placeOf } from './target-backend.ts';

const LIMITS: PoolLimits = {
  ...{ maxConnections: Infinity, maxPendingRequests: Infinity, maxRequestsPerConnection: Infinity },
  connectTimeoutMs: DEFAULT_TRAFFIC_POLICY.connectTimeoutMs,
  idleTimeoutMs: DEFAULT_TRAFFIC_POLICY.idleTimeoutMs,
};

/** One workload that was called at its own address: there is nothing to choose, and nobody to compare it with. */
export class PodBackend implements Backend {
  readonly name: string;
  readonly version: UpstreamVersion;
  readonly limits = LIMITS;
  readonly service = undefined;
  readonly retryPolicy = undefined;
  readonly #endpoint: UpstreamEndpoint;

  constructor(workload: Workload, port: number, downstream: HttpVersion) {
    this.name = `inbound-pod|${port}||${workload.uid}`;
    this.version = downstream === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1';
    const key = `${workload.uid}:${port}`;
    const state = new EndpointState(key, 0);
    const endpoint = { workload, port, weight: 1, labels: new Map(), hashKey: key, state };
    this.#endpoint = placeOf(endpoint, undefined);
  }

  chooseEndpoint(): UpstreamEndpoint {
    return this.#endpoint;
  }

  beginTry(): undefined {
    return undefined;
  }

  endTry(): void {
    // Nothing was counted.
  }

  judge(): boolean {
    return false;
  }

  beginRetry(): boolean {
    return true;
  }

  endRetry(): void {
    // Nothing was counted.
  }

  fallback(): undefined {
    return undefined;
  }
}
