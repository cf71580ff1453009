import { policyYaml } from '../../support/mesh-policies.ts';
import { runProgram } from '../../support/run-program.ts';
import { inTurn, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import type { FaultPlace } from '../place.ts';

const PART = 'istiod-lite';
const POLICY = 'written-in-need';

/** Runs a script among the mounts of the control plane, which nobody else sees. */
async function inMounts(pid: number, script: string): Promise<void> {
  const args = ['--target', String(pid), '--mount', '--pid', 'sh', '-ec', script];
  const { code, stderr } = await runProgram('nsenter', args);
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
}

/** Mounts something over each folder that the control plane writes to, with what was in it. */
async function overFolders(
  place: FaultPlace,
  mount: (folder: string) => string,
): Promise<ActiveFault> {
  const pid = await place.partPid(PART);
  const { ca, statusObjects, generatedObjects } = place.mesh.sandbox.paths;
  return inTurn(
    ...[ca, statusObjects, generatedObjects].map((folder) => async () => {
      await inMounts(pid, mount(folder));
      return undoneBy(() => inMounts(pid, `umount -l ${folder}`));
    }),
    () => changeConfiguration(place),
  );
}

/** Something to write and to send: a policy of nobody's, whose status goes to a file. */
export async function changeConfiguration(place: FaultPlace): Promise<ActiveFault> {
  const spec = {
    selector: { matchLabels: { app: 'near' } },
    action: 'DENY',
    rules: [{ from: [{ source: { principals: ['*/sa/nobody'] } }] }],
  };
  await place.mesh.applySoon(policyYaml(POLICY, spec));
  return undoneBy(() => place.mesh.deleteSoon('AuthorizationPolicy', POLICY));
}

export const diskFaults: readonly Fault[] = [
  {
    name: 'the disk of the control plane is full',
    class: 'disk full',
    spares: {},
    holdMs: 1_000,
    begin: (place) =>
      overFolders(
        place,
        (folder) => `mkdir /run/full; mount -t tmpfs -o size=8m tmpfs /run/full
          cp -a ${folder}/. /run/full/; cat /dev/zero >/run/full/zeros 2>/dev/null || true
          mount --bind /run/full ${folder}; umount /run/full; rmdir /run/full`,
      ),
  },
  {
    name: 'the disk of the control plane is read-only',
    class: 'read-only file system',
    spares: {},
    holdMs: 1_000,
    begin: (place) =>
      overFolders(
        place,
        (folder) => `mount --bind ${folder} ${folder}; mount -o remount,bind,ro ${folder}`,
      ),
  },
];
