import { defineVerb, EXIT, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { namespaceOf } from '../object-fields.ts';
import { findPod } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';

export const logs = defineVerb({
  name: 'logs',
  group: 'Pods',
  summary: 'Print what a pod, or a part of the mesh, has written',
  details: `The access log of a connection is in the logs of its two ztunnels.

Examples:
  halo logs web-1 -f
  halo logs deploy/web -n shop --tail 20
  halo logs --part ztunnel-node-1`,
  arguments: [
    {
      name: 'POD',
      summary: 'NAME, NAMESPACE/NAME or deploy/NAME',
      optional: true,
      complete: 'workloads',
    },
  ],
  options: {
    part: {
      type: 'text',
      placeholder: 'PART',
      summary: 'of a part of the mesh instead, such as istiod-lite',
      complete: 'parts',
    },
    container: {
      type: 'text',
      short: 'c',
      placeholder: 'NAME',
      summary: 'the container (default the first)',
    },
    follow: { type: 'flag', short: 'f', summary: 'go on as more is written' },
    tail: {
      type: 'number',
      placeholder: 'LINES',
      summary: 'only so many lines from the end',
      min: 0,
      max: 999_999_999,
    },
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [reference], terminal }) {
    if ((reference === undefined) === (options.part === undefined))
      throw usageError('Say whose logs: a POD, or --part PART');
    const sandbox = new Sandbox(sandboxName(options.name));
    const pod =
      reference === undefined ? undefined : await findPod(sandbox, reference, options.namespace);
    const query = {
      part: options.part,
      namespace: pod === undefined ? undefined : namespaceOf(pod),
      pod: pod?.metadata.name,
      container: options.container,
      follow: options.follow ? true : undefined,
      tail: options.tail,
    };
    await sandbox.stream('/v1/logs', query, terminal.out, terminal.signal);
    return EXIT.ok;
  },
});
