import type { Decision } from '../../mesh/model/authorize.ts';
import { connectionSpan, type Traced } from '../../mesh/proxy/access-log.ts';
import type { ConnectionEnds } from '../../mesh/proxy/live-connection.ts';
import type { PolicyLog } from '../parts.ts';

/** Tells what policy said of a connection, and what policies in dry-run would have said. */
export function logDecision(
  { logger, level }: PolicyLog,
  decision: Decision,
  live: Readonly<{ ends: ConnectionEnds }> & Traced,
): void {
  if (decision.dryRun.length === 0 && !logger.isEnabled(level)) return;
  const { source, destination } = live.ends;
  const span = connectionSpan('inbound', live);
  const ends = {
    'src.addr': source.address,
    'src.identity': source.identity,
    'dst.addr': destination.address,
    'dst.hbone_addr': destination.hboneTarget,
    'dst.workload': destination.workload?.name,
  };
  // Whoever tries a policy out wants to see it: not only at debug.
  for (const { policy, rule, action } of decision.dryRun)
    logger.log('info', 'dry-run policy matched', { policy, rule, action, ...ends }, span);
  const { by, reason } = decision;
  const message = `connection ${decision.kind === 'allow' ? 'allowed' : 'denied'} by policy`;
  logger.log(level, message, { policy: by?.policy, rule: by?.rule, reason, ...ends }, span);
}
