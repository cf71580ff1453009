import { MeshError } from '../../base/errors.ts';
import type { KubernetesObject } from '../../deploy/sandbox/api.ts';
import { isClusterScoped, resolveKind } from '../../deploy/sandbox/kinds.ts';
import { defineVerb, EXIT, namespaceOptions, outputOptions, sandboxOptions } from '../command.ts';
import { didYouMean } from '../nearest.ts';
import { formatObjects } from '../object-tables.ts';
import { printResult } from '../output.ts';
import { DEFAULT_NAMESPACE } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';

export const get = defineVerb({
  name: 'get',
  group: 'Objects',
  summary: 'Show objects',
  details: `Examples:
  halo get pods -A
  halo get svc,deploy -n shop
  halo get pod web-1 -o yaml
  halo get pods -l app=web`,
  arguments: [
    {
      name: 'KIND',
      summary: 'pods, services, deployments, ...; several with commas',
      complete: 'kinds',
    },
    { name: 'NAME', summary: 'only these', optional: true, rest: true, complete: 'objects' },
  ],
  options: {
    'all-namespaces': { type: 'flag', short: 'A', summary: 'of every namespace' },
    selector: {
      type: 'text',
      short: 'l',
      placeholder: 'LABELS',
      summary: 'only with these labels: a=b,c!=d,e',
    },
    'show-labels': { type: 'flag', summary: 'a column with all labels' },
    ...namespaceOptions,
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: words, terminal }) {
    const [first = '', ...rest] = words;
    const [kindsText = '', inlineName] = first.split('/');
    const names = inlineName === undefined ? rest : [inlineName, ...rest];
    const sandbox = new Sandbox(sandboxName(options.name));
    const namespace = options.namespace ?? DEFAULT_NAMESPACE;
    const found: KubernetesObject[] = [];
    for (const kind of kindsText.split(',')) {
      const objects = await sandbox.objects({
        kind,
        ...(options['all-namespaces'] || isClusterScoped(resolveKind(kind)) ? {} : { namespace }),
        ...(options.selector === undefined ? {} : { selector: options.selector }),
      });
      found.push(...(names.length === 0 ? objects : pick(objects, names, kind)));
    }
    const value = names.length === 1 && found.length === 1 ? found[0] : { items: found };
    printResult(terminal, options.output, value, () => {
      if (found.length === 0) return '';
      const layout = { namespaces: options['all-namespaces'], labels: options['show-labels'] };
      return formatObjects(terminal, found, { ...layout, nowMs: Date.now() });
    });
    if (found.length === 0 && options.output === undefined)
      terminal.note(
        `No ${kindsText}${options['all-namespaces'] ? '' : ` in namespace ${namespace}`}\n`,
      );
    return EXIT.ok;
  },
});

/** @throws {MeshError} ERR_NOT_FOUND for the first name that is not there. */
function pick(
  objects: readonly KubernetesObject[],
  names: readonly string[],
  kind: string,
): KubernetesObject[] {
  return names.flatMap((name) => {
    const named = objects.filter((object) => object.metadata.name === name);
    if (named.length > 0) return named;
    const known = objects.map((object) => object.metadata.name);
    throw new MeshError(
      'ERR_NOT_FOUND',
      'local',
      `Cannot find ${kind} "${name}"${didYouMean(name, known)}`,
    );
  });
}
