import type { TestFn } from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Fault, Topology } from './fault.ts';
import { auditIdentities } from './identities.ts';
import { addressesOf, Loads } from './loads.ts';
import { faultMeshOptions } from './matrix.ts';
import { RECOVERY_MS, runRound, type CellReport, type RoundReport } from './round.ts';

/**
 * Every fault in every topology, each a cell, which is a test. The loads of all topologies run all the time, so one
 * occurrence of a fault is judged in each of them: its cells share a round. docs/faults.md says how to run one.
 */
export function testCells(
  test: TestFn,
  topologies: readonly Topology[],
  faults: readonly Fault[],
  options: Readonly<{ waypoints: boolean }>,
): void {
  const mesh = startMesh(test, faultMeshOptions(options));
  const loads = new Loads(mesh, topologies);
  const rounds = new Map<string, Promise<RoundReport>>();

  test.serial.before('the loads run', async () => {
    await loads.startServers();
    await loads.start();
  });

  for (const fault of faults)
    for (const topology of topologies) {
      if (fault.spares[topology] !== undefined) continue;
      test.serial(`${topology}: ${fault.name}`, async (t) => {
        t.timeout(60_000);
        let round = rounds.get(fault.name);
        if (round === undefined) {
          round = judgedRound(loads, fault);
          rounds.set(fault.name, round);
          await round;
          await mesh.pushed(); // the control plane has all again: the next fault finds a whole mesh
        }
        const { how, cells, beganMs, endedMs } = await round;
        const cell = cells.get(topology);
        if (cell === undefined) throw new Error('the round does not tell of this topology');
        const { complete, errors, recovery, wrong } = cell;
        const lasted = `${Math.round(endedMs - beganMs)} ms${how === undefined ? '' : ` by ${how}`}`;
        t.log(`${lasted}; ${complete} complete, ${JSON.stringify(errors)}; ${recovery}`);
        t.deepEqual(wrong, []);
        t.false(isLate(cell), recovery);
      });
    }

  test.serial('no connection of all these was under a wrong identity', async (t) => {
    const records = mesh.takeRecords();
    t.true(records.length > 0);
    t.deepEqual(auditIdentities(records, await addressesOf(mesh)), []);
  });
}

const isLate = ({ recoveryMs = Infinity }: CellReport): boolean => recoveryMs > RECOVERY_MS;

/** A round in which something recovered late is repeated once: the machine may have been busy with something else. */
async function judgedRound(loads: Loads, fault: Fault): Promise<RoundReport> {
  const first = await runRound(loads, fault);
  if (![...first.cells.values()].some(isLate)) return first;
  const second = await runRound(loads, fault);
  const cells = [...second.cells].map(([topology, cell]): [Topology, CellReport] => [
    topology,
    { ...cell, wrong: [...(first.cells.get(topology)?.wrong ?? []), ...cell.wrong] },
  ]);
  return { ...second, cells: new Map(cells) };
}
