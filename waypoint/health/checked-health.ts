import type { ServiceKey } from '../../mesh/model/service.ts';
import type { WorkloadUid } from '../../mesh/model/workload.ts';

/** What one check of one endpoint came to, for every thread. */
export type HealthResult = Readonly<{
  service: ServiceKey;
  workload: WorkloadUid;
  /** What the endpoint is taken for from now on; `undefined`: it is not checked any more. */
  healthy: boolean | undefined;
  /** How the check itself ended. */
  passed: boolean;
}>;

/** What checks have found, as one thread knows it. Endpoints that were not checked yet are what configuration says. */
export class CheckedHealth {
  readonly #unhealthy = new Map<ServiceKey, Set<WorkloadUid>>();

  apply({ service, workload, healthy }: HealthResult): void {
    const ofService = this.#unhealthy.get(service);
    if (healthy === false) {
      if (ofService === undefined) this.#unhealthy.set(service, new Set([workload]));
      else ofService.add(workload);
    } else if (ofService?.delete(workload) === true && ofService.size === 0)
      this.#unhealthy.delete(service);
  }

  isHealthy(service: ServiceKey, workload: WorkloadUid): boolean {
    return this.#unhealthy.get(service)?.has(workload) !== true;
  }
}
