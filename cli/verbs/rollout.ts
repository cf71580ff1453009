import type { PartAction, PartStatus, SandboxStatus } from '../../deploy/sandbox/api.ts';
import {
  defineVerb,
  EXIT,
  namespaceOptions,
  sandboxOptions,
  usageError,
  type VerbGroup,
} from '../command.ts';
import { Progress } from '../progress.ts';
import { deploymentReference } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import type { Terminal } from '../terminal.ts';

const READY_TIMEOUT_MS = 60_000;

const restart = defineVerb({
  name: 'restart',
  group: 'Commands',
  summary: 'Replace the pods of a Deployment, or the processes of a part of the mesh',
  details: `Of a Deployment, each old pod ends when a new one is ready.

Of the mesh, TARGET is a kind of part (ztunnel, istiod-lite, node-agent, cluster-dns) or one part by name. A ztunnel is
replaced without a gap: a new process takes over when it is ready, and the old one goes on with the connections that it
has until they end (at most an hour; the ztunnel's CONNECTION_TERMINATION_DEADLINE says otherwise).

Examples:
  halo rollout restart deploy/web -n shop
  halo rollout restart ztunnel
  halo rollout restart ztunnel node-2`,
  arguments: [
    {
      name: 'TARGET',
      summary: 'a Deployment (NAME or deploy/NAME), or a part of the mesh',
      complete: 'restartable',
    },
    { name: 'NODE', summary: 'only the part on this node', optional: true, complete: 'nodes' },
  ],
  options: { ...namespaceOptions, ...sandboxOptions },
  async run({ options, arguments: [target = '', node], terminal }) {
    const sandbox = new Sandbox(sandboxName(options.name));
    const isPart = !target.includes('/') && options.namespace === undefined;
    const parts = isPart ? partsOf(await sandbox.status(), target, node) : [];
    if (parts.length > 0) {
      for (const part of parts) await restartPart(sandbox, part, terminal);
      return EXIT.ok;
    }
    if (node !== undefined)
      throw usageError(`Cannot restart ${target} on ${node}: no such part of the mesh is there`);
    const deployment = deploymentReference(target, options.namespace);
    await sandbox.post('/v1/restart', deployment);
    terminal.out(`deployment/${deployment.name} restarted\n`);
    return EXIT.ok;
  },
});

function partsOf(
  { parts }: SandboxStatus,
  target: string,
  node: string | undefined,
): readonly PartStatus[] {
  return parts.filter(
    (part) =>
      (part.kind === target || part.name === target) && (node === undefined || part.node === node),
  );
}

/** One after another, so that never two nodes are without what they need. */
async function restartPart(
  sandbox: Sandbox,
  { name, kind }: PartStatus,
  terminal: Terminal,
): Promise<void> {
  using progress = new Progress(terminal, `Restarting ${name}`);
  const action: PartAction = kind === 'ztunnel' ? 'replace' : 'restart';
  const { draining = 0 } = await sandbox.post<PartStatus>('/v1/parts', { name, action });
  progress.say(`Waiting for ${name}`);
  await sandbox.wait('ready', READY_TIMEOUT_MS, terminal.signal);
  terminal.out(`${name} restarted${draining > 0 ? '; the old process drains' : ''}\n`);
}

export const rollout: VerbGroup = {
  name: 'rollout',
  group: 'Objects',
  summary: 'Replace the pods of a Deployment, or parts of the mesh',
  commands: [restart],
};
