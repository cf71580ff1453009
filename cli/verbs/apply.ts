import type { ApplyResponse, ObjectReference } from '../../deploy/sandbox/api.ts';
import { refuseErrors } from '../../deploy/sandbox/refuse-errors.ts';
import {
  defineVerb,
  EXIT,
  namespaceOptions,
  outputOptions,
  sandboxOptions,
  usageError,
} from '../command.ts';
import { readManifests } from '../manifests.ts';
import { printResult } from '../output.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { printable } from '../terminal.ts';
import { waitOptions, waitUntilInForce } from '../until-in-force.ts';

export const apply = defineVerb({
  name: 'apply',
  group: 'Objects',
  summary: 'Create or change objects from files of YAML',
  details: `All documents are checked before any of them is written: when one is refused, nothing changes.
It returns when they are in force: pods that begin are in the mesh or not, as asked, and every proxy has the policies.

Examples:
  halo apply -f app.yaml
  halo apply -f folder/ -n shop
  cat policy.yaml | halo apply -f -`,
  options: {
    file: {
      type: 'list',
      short: 'f',
      placeholder: 'PATH',
      summary: 'file, folder, or - for the standard input',
      complete: 'files',
    },
    ...waitOptions,
    ...namespaceOptions,
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, terminal }) {
    if (options.file.length === 0) throw usageError('Nothing to apply: name files with -f');
    const sandbox = new Sandbox(sandboxName(options.name));
    const documents = await readManifests(options.file);
    for (const warning of refuseErrors(documents)) terminal.note(`${printable(warning)}\n`);
    const { results } = await sandbox.post<ApplyResponse>('/v1/apply', {
      documents,
      ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    });
    printResult(terminal, options.output, results, () =>
      results.map(({ object, action }) => `${nameOf(object)} ${action}\n`).join(''),
    );
    await waitUntilInForce(sandbox, terminal, options);
    return EXIT.ok;
  },
});

/** `deployment/web`, as the object verbs print it. */
export function nameOf(object: ObjectReference): string {
  return printable(`${object.kind.toLowerCase()}/${object.name}`);
}
