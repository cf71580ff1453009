import type { Clock } from '../../certs/clock.ts';
import type { EndpointEvent } from '../../mesh/model/endpoint-report.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { WaypointStore } from '../../mesh/proxy/state/waypoint-store.ts';
import type { Logger } from '../../mesh/runtime/log.ts';
import { chooseIngressWay } from '../gateway/ingress-way.ts';
import type { HealthResult } from './checked-health.ts';
import { updateChecks } from './checked-services.ts';
import { HealthChecker } from './checker.ts';
import { makeProbe, type ProbeWays } from './probe.ts';
import { TurnBatch } from './turn-batch.ts';

export type EndpointChecksOptions = Readonly<{
  ways: ProbeWays;
  state: ProxyState;
  store: WaypointStore;
  /** One that only goes forward. */
  clock: Clock;
  /** A gateway's: behind its waypoint it reaches no endpoint of a service, not even to check it. */
  isIngress: boolean;
  log: Logger;
  onResult: (result: HealthResult) => void;
  /** What was found in a turn, for all threads. */
  onResults: (batch: readonly HealthResult[]) => void;
  onEvent: (event: EndpointEvent) => void;
}>;

/** The checks of endpoints that a process makes, in one of its threads, as far as policies ask for them. */
export class EndpointChecks implements Disposable {
  readonly #options: EndpointChecksOptions;
  readonly #checker: HealthChecker;

  constructor(options: EndpointChecksOptions) {
    this.#options = options;
    const { clock, ways, log, onResult, onResults, onEvent } = options;
    const results = new TurnBatch(onResults);
    this.#checker = new HealthChecker({
      clock,
      probe: makeProbe(ways),
      onResult(result) {
        onResult(result);
        results.add(result);
      },
      onChange({ service: target, workload: endpoint, healthy, reason }) {
        const kind = healthy ? 'healthy' : 'unhealthy';
        log.info(`endpoint ${kind}`, { service: target, endpoint, reason });
        onEvent({ time: new Date().toISOString(), kind, target, endpoint, reason });
      },
    });
  }

  /** These services, their endpoints or their policies have changed. */
  update(services: ReadonlySet<ServiceKey>): void {
    const { state, store } = this.#options;
    for (const service of services)
      if (this.#isWaypointsBusiness(service)) this.#checker.update(service, undefined, new Map());
      else updateChecks(this.#checker, state, store, service);
  }

  [Symbol.dispose](): void {
    this.#checker[Symbol.dispose]();
  }

  #isWaypointsBusiness(key: ServiceKey): boolean {
    const service = this.#options.isIngress ? this.#options.state.service(key) : undefined;
    return service !== undefined && chooseIngressWay(service, Math.random).kind !== 'direct';
  }
}
