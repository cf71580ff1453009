import { MeshError } from '../base/errors.ts';
import { addressKey, demandKeyOf, type DemandKey } from '../mesh/proxy/state/answered.ts';
import type { SocketAddress } from '../base/address.ts';
import type { Workload } from '../mesh/model/workload.ts';
import type { DemandAccount } from './demand.ts';
import { STATE_WAIT_MS, type DataParts } from './parts.ts';

/** A record of a connection is not worth more: to a control plane that answers, this is many times the way there and back. */
const RECORD_WAIT_MS = 100;

/** Asks the control plane and waits for its answer, 5 s at most; false when there was none. */
export async function askInTime(
  { demand }: Pick<DataParts, 'demand'>,
  account: DemandAccount,
  key: DemandKey,
  signal: AbortSignal,
): Promise<boolean> {
  if (demand === undefined) return true; // the state holds everything: nothing is to be asked
  const patience = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), signal]);
  return await demand.ask(account, key, patience);
}

export function notTold(key: DemandKey): MeshError {
  return new MeshError('ERR_NOT_TOLD', 'local', describeNotTold(key));
}

export function describeNotTold(key: DemandKey): string {
  return `the control plane has not told of ${key} within ${STATE_WAIT_MS} ms`;
}

/**
 * On demand: asks for what only the record of an inbound connection needs, who came and which service was called. Waits a
 * moment for the first answer, so that the record is whole; nothing is decided by it.
 *
 * @param host the service's name, if the client told it.
 */
export async function askForRecord(
  parts: Pick<DataParts, 'demand' | 'network'>,
  podUid: string,
  about: Readonly<{
    peer: SocketAddress;
    workload?: Workload | undefined;
    host?: string | undefined;
  }>,
  signal: AbortSignal,
): Promise<void> {
  const { demand, network } = parts;
  if (demand === undefined) return;
  const account: DemandAccount = { podUid, side: 'inbound' };
  const named = [...(about.workload?.services.keys() ?? [])].filter(
    (key) => about.host !== undefined && key.endsWith(`/${about.host}`),
  );
  const keys = [addressKey(network, about.peer.ip), ...named.map(demandKeyOf)];
  const unknown = keys.filter((key) => {
    demand.touch(account, key);
    return !demand.answered.has(key) && !demand.isPending(key);
  });
  if (unknown.length === 0) return;
  const patience = AbortSignal.any([AbortSignal.timeout(RECORD_WAIT_MS), signal]);
  await Promise.all(unknown.map((key) => demand.ask(account, key, patience)));
}
