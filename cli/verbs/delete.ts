import { parseAllDocuments } from 'yaml';
import type { DeleteResponse, ObjectReference } from '../../deploy/sandbox/api.ts';
import { defineVerb, EXIT, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { readManifests } from '../manifests.ts';
import { textAt } from '../object-fields.ts';
import { DEFAULT_NAMESPACE, parseObjectReferences } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { waitOptions, waitUntilInForce } from '../until-in-force.ts';
import { nameOf } from './apply.ts';

export const deleteObjects = defineVerb({
  name: 'delete',
  group: 'Objects',
  summary: 'Delete objects by name, or those that files of YAML name',
  details: `It returns when no proxy goes by them any more; pods may still be ending then.

Examples:
  halo delete pod web-1
  halo delete svc/web deploy/web -n shop
  halo delete -f app.yaml`,
  arguments: [
    {
      name: 'OBJECT',
      summary: 'KIND NAME..., or KIND/NAME...',
      optional: true,
      rest: true,
      complete: 'objects',
    },
  ],
  options: {
    file: {
      type: 'list',
      short: 'f',
      placeholder: 'PATH',
      summary: 'delete what these name: file, folder, or -',
      complete: 'files',
    },
    'ignore-missing': { type: 'flag', summary: 'what does not exist is no failure' },
    ...waitOptions,
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: words, terminal }) {
    if ((words.length === 0) === (options.file.length === 0))
      throw usageError('Name either objects or files (-f) to delete');
    const objects =
      words.length > 0
        ? parseObjectReferences(words, options.namespace)
        : await referencesIn(options.file, options.namespace);
    const sandbox = new Sandbox(sandboxName(options.name));
    const { deleted, missing } = await sandbox.post<DeleteResponse>('/v1/delete', { objects });
    for (const object of deleted) terminal.out(`${nameOf(object)} deleted\n`);
    for (const object of missing) terminal.note(`${nameOf(object)} does not exist\n`);
    await waitUntilInForce(sandbox, terminal, options);
    return missing.length > 0 && !options['ignore-missing'] ? EXIT.failed : EXIT.ok;
  },
});

async function referencesIn(
  paths: readonly string[],
  namespace: string | undefined,
): Promise<ObjectReference[]> {
  const manifests = await readManifests(paths);
  return manifests
    .flatMap(({ text }) => parseAllDocuments(text).map((document) => document.toJS() as unknown))
    .map((object) => ({
      kind: textAt(object, 'kind'),
      name: textAt(object, 'metadata', 'name'),
      namespace: textAt(object, 'metadata', 'namespace') || (namespace ?? DEFAULT_NAMESPACE),
    }))
    .filter((reference) => reference.kind !== '' && reference.name !== '');
}
