import type { Decision } from '../../mesh/model/authorize.ts';
import type { ConnectionEnds } from '../live-connection.ts';
import type { PolicyLog } from '../parts.ts';

/** Tells what policy said of a connection, and what policies in dry-run would have said. */
export function logDecision(
  { logger, level }: PolicyLog,
  decision: Decision,
  { source, destination }: ConnectionEnds,
): void {
  if (decision.dryRun.length === 0 && !logger.isEnabled(level)) return;
  const ends = {
    'src.addr': source.address,
    'src.identity': source.identity,
    'dst.addr': destination.address,
    'dst.hbone_addr': destination.hboneTarget,
    'dst.workload': destination.workload?.name,
  };
  // Whoever tries a policy out wants to see it: not only at debug.
  for (const { policy, rule, action } of decision.dryRun)
    logger.info('dry-run policy matched', { policy, rule, action, ...ends });
  logger.log(level, `connection ${decision.kind === 'allow' ? 'allowed' : 'denied'} by policy`, {
    ...{ policy: decision.by?.policy, rule: decision.by?.rule, reason: decision.reason },
    ...ends,
  });
}
