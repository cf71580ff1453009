import { readAdminJson } from '../admin-pages.ts';
import {
  defineVerb,
  EXIT,
  outputOptions,
  sandboxOptions,
  type Verb,
  type VerbGroup,
} from '../command.ts';
import { printResult } from '../output.ts';
import { ztunnelsOf } from '../parts.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { formatTable } from '../table.ts';
import { DUMP_VIEWS, type ConfigDump, type DumpView } from '../ztunnel-tables.ts';

const SUMMARIES: ReadonlyMap<string, string> = new Map([
  ['workloads', 'The workloads that a ztunnel knows'],
  ['services', 'The Services that a ztunnel knows, with their healthy endpoints of all'],
  ['demands', 'What each ztunnel has asked the control plane for, where it asks on demand'],
  ['policies', 'The authorization policies that a ztunnel knows'],
  ['certificates', 'The certificates that each ztunnel holds'],
  ['connections', 'The connections that each ztunnel has open'],
]);

export const ztunnel: VerbGroup = {
  name: 'ztunnel',
  aliases: ['zt'],
  group: 'Looking into it',
  summary: 'What the node proxies know and do',
  commands: [...DUMP_VIEWS].map(([name, view]) => viewVerb(name, view)),
};

function viewVerb(name: string, view: DumpView): Verb {
  return defineVerb({
    name,
    aliases: [name.slice(0, -1)],
    group: 'Commands',
    summary: SUMMARIES.get(name) ?? '',
    details: `${
      view.perNode
        ? 'Of all nodes, or of one with --node.'
        : 'All ztunnels are told the same, unless they ask on demand (XDS_ON_DEMAND); without --node it is what the first of them knows.'
    }

Examples:
  halo ztunnel ${name}
  halo ztunnel ${name} -n shop --node node-1`,
    options: {
      node: {
        type: 'text',
        placeholder: 'NODE',
        summary: 'of the ztunnel on this node',
        complete: 'nodes',
      },
      namespace: {
        type: 'text',
        short: 'n',
        placeholder: 'NAMESPACE',
        summary: 'only of this namespace',
        complete: 'namespaces',
      },
      ...outputOptions,
      ...sandboxOptions,
    },
    async run({ options, terminal }) {
      const status = await new Sandbox(sandboxName(options.name)).status();
      const parts = ztunnelsOf(status, options.node);
      const asked = view.perNode ? parts : parts.slice(0, 1);
      const dumps = await Promise.all(
        asked.map(async (part) => ({
          node: part.node ?? '',
          dump: (await readAdminJson(part, '/config_dump')) as ConfigDump,
        })),
      );
      const value = view.perNode
        ? Object.fromEntries(dumps.map(({ node, dump }) => [node, dump[view.json]]))
        : dumps[0]?.dump[view.json];
      printResult(terminal, options.output, value, () => {
        const rows = dumps.flatMap(({ node, dump }) =>
          view.rows(dump).map((row) => (view.perNode ? [...row, node] : row)),
        );
        const namespace = options.namespace;
        const shown =
          namespace === undefined ? rows : rows.filter((row) => isOfNamespace(row[0], namespace));
        const headings = view.perNode ? [...view.headings, 'ON NODE'] : view.headings;
        return formatTable(terminal, headings, shown);
      });
      return EXIT.ok;
    },
  });
}

/** The first cell is a namespace, `pod.namespace`, `namespace/hostname`, or a SPIFFE id. */
function isOfNamespace(cell: unknown, namespace: string): boolean {
  const text = String(cell);
  return (
    text === namespace ||
    text.endsWith(`.${namespace}`) ||
    text.startsWith(`${namespace}/`) ||
    text.includes(`/ns/${namespace}/`)
  );
}
