import { describeError } from '../base/errors.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import type { ReadinessGate } from '../mesh/runtime/readiness.ts';
import type { DedicatedWorkload } from './mode-settings.ts';
import type { PodManager } from './pod-manager.ts';

export type DedicatedParts = Readonly<{
  workload: DedicatedWorkload;
  pods: PodManager;
  /** Opened once the workload is served. */
  gate: ReadinessGate;
  logger: Logger;
  stop: (reason: string) => void;
}>;

/**
 * Serves the one workload that this program stands beside, in the namespace that both are in: nobody hands it over, and
 * nothing of it can be served while its ports are taken, so that ends the program. Never rejects.
 */
export async function serveDedicated(parts: DedicatedParts): Promise<void> {
  const { workload, pods, gate, logger, stop } = parts;
  const { namespace, name } = workload;
  const uid = `${namespace}/${name}`;
  try {
    await pods.add(uid, workload);
    gate.open();
  } catch (error) {
    logger.error('cannot serve the workload', { workload: uid, error: describeError(error) });
    process.exitCode = 1;
    stop('the workload cannot be served');
  }
}
