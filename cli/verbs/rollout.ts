import { defineVerb, EXIT, namespaceOptions, sandboxOptions, type VerbGroup } from '../command.ts';
import { deploymentReference } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';

const restart = defineVerb({
  name: 'restart',
  group: 'Commands',
  summary: 'Replace the pods of a Deployment, each old one when a new one is ready',
  details: 'Example:\n  halo rollout restart deploy/web -n shop',
  arguments: [{ name: 'DEPLOYMENT', summary: 'its name, or deploy/NAME', complete: 'deployments' }],
  options: { ...namespaceOptions, ...sandboxOptions },
  async run({ options, arguments: [name = ''], terminal }) {
    const deployment = deploymentReference(name, options.namespace);
    await new Sandbox(sandboxName(options.name)).post('/v1/restart', deployment);
    terminal.out(`deployment/${deployment.name} restarted\n`);
    return EXIT.ok;
  },
});

export const rollout: VerbGroup = {
  name: 'rollout',
  group: 'Objects',
  summary: 'Replace the pods of a Deployment',
  commands: [restart],
};
