import type { LabelRequest } from '../../deploy/sandbox/api.ts';
import { defineVerb, EXIT, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { parseObjectReferences } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { waitOptions, waitUntilInForce } from '../until-in-force.ts';
import { nameOf } from './apply.ts';

export const label = defineVerb({
  name: 'label',
  group: 'Objects',
  summary: 'Set or remove labels, such as the one that puts a namespace into the mesh',
  details: `A key with a dash behind it is removed.

It returns when the change holds: pods are in or out of the mesh, and every proxy knows of it, so that the next connection
is encrypted, or is not.

Connections that are open when a pod enters the mesh go on as they are, and policy does not reach them;
--reset-open ends them.

Examples:
  halo label namespace shop istio.io/dataplane-mode=ambient
  halo label ns shop istio.io/dataplane-mode-
  halo label pod/web-1 istio.io/dataplane-mode=none -n shop`,
  arguments: [
    { name: 'OBJECT', summary: 'KIND NAME or KIND/NAME', complete: 'objects' },
    { name: 'LABEL', summary: 'KEY=VALUE, or KEY- to remove it', rest: true },
  ],
  options: {
    annotations: { type: 'flag', summary: 'change annotations instead of labels' },
    'reset-open': {
      type: 'flag',
      summary: 'end the connections that enrolment would leave as they are',
    },
    ...waitOptions,
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: words, terminal }) {
    const objectWords = words[0]?.includes('/') === true ? 1 : 2;
    const [object] = parseObjectReferences(words.slice(0, objectWords), options.namespace);
    const changes = words.slice(objectWords);
    if (object === undefined || changes.length === 0)
      throw usageError('Nothing to change: name labels as KEY=VALUE or KEY-');
    const values = Object.fromEntries(changes.map(parseChange));
    const request: LabelRequest = {
      object,
      ...(options.annotations ? { annotations: values } : { labels: values }),
      resetOpen: options['reset-open'],
    };
    const sandbox = new Sandbox(sandboxName(options.name));
    await sandbox.post('/v1/label', request);
    terminal.out(`${nameOf(object)} ${options.annotations ? 'annotated' : 'labelled'}\n`);
    await waitUntilInForce(sandbox, terminal, options);
    return EXIT.ok;
  },
});

function parseChange(text: string): [string, string | null] {
  const equals = text.indexOf('=');
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
  if (equals < 0 && text.length > 1 && text.endsWith('-')) return [text.slice(0, -1), null];
  throw usageError(`Cannot read label ${text}: use KEY=VALUE, or KEY- to remove it`);
}
