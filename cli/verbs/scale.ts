import { defineVerb, EXIT, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { deploymentReference } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';

export const scale = defineVerb({
  name: 'scale',
  group: 'Objects',
  summary: 'Change how many pods a Deployment has',
  details: 'Example:\n  halo scale deploy/web 3 -n shop',
  arguments: [
    { name: 'DEPLOYMENT', summary: 'its name, or deploy/NAME', complete: 'deployments' },
    { name: 'REPLICAS', summary: 'how many, 0 to 1000' },
  ],
  options: { ...namespaceOptions, ...sandboxOptions },
  async run({ options, arguments: [name = '', replicas = ''], terminal }) {
    const deployment = deploymentReference(name, options.namespace);
    const count = parseReplicas(replicas);
    await new Sandbox(sandboxName(options.name)).post('/v1/scale', {
      ...deployment,
      replicas: count,
    });
    terminal.out(`deployment/${deployment.name} scaled to ${count}\n`);
    return EXIT.ok;
  },
});

function parseReplicas(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (count <= 1000) return count;
  throw usageError(`REPLICAS is a whole number from 0 to 1000: found ${text}`);
}
