import { describeError } from '../../base/errors.ts';
import type { Enrolment, PartState, SandboxStatus } from '../../deploy/sandbox/api.ts';
import { formatAge } from '../age.ts';
import { readAdminJson } from '../admin-pages.ts';
import { defineVerb, EXIT, outputOptions, sandboxOptions } from '../command.ts';
import { printResult } from '../output.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { readConfigProblems, readSync, type ProxySync } from '../sync.ts';
import { formatTable, type Cell } from '../table.ts';
import { paint, printable, type Terminal } from '../terminal.ts';
import { leafCertificates, type ConfigDump, type LeafCertificate } from '../ztunnel-tables.ts';

type Certificate = LeafCertificate & Readonly<{ node: string }>;

/** Everything that `halo status` tells; what `-o json` prints. */
type Overview = SandboxStatus &
  Readonly<{
    certificates: readonly Certificate[];
    sync: readonly ProxySync[];
    /** Pages that could not be read. */
    unanswered: readonly string[];
  }>;

export const status = defineVerb({
  name: 'status',
  group: 'The mesh',
  summary: 'Show the parts, nodes, pods, certificates, and whether all are up to date',
  details: `It ends with 0 when all is in order, with 1 when something is not. OPEN PLAIN counts the connections of a pod that were
open when it entered the mesh: policy does not reach them, and halo label --reset-open ends them.

Examples:
  halo status
  halo status -o json`,
  options: { ...outputOptions, ...sandboxOptions },
  async run({ options, terminal }) {
    const overview = await readOverview(new Sandbox(sandboxName(options.name)));
    printResult(terminal, options.output, overview, () => formatOverview(terminal, overview));
    const inOrder =
      overview.ready &&
      overview.settled &&
      overview.problems.length + overview.unanswered.length === 0 &&
      overview.sync.every((proxy) => proxy.inSync) &&
      overview.certificates.every((certificate) => certificate.state === 'Available');
    return inOrder ? EXIT.ok : EXIT.failed;
  },
});

async function readOverview(sandbox: Sandbox): Promise<Overview> {
  const found = await sandbox.status();
  const unanswered: string[] = [];
  const ask = async <Answer>(reading: Promise<Answer>, instead: Answer): Promise<Answer> => {
    try {
      return await reading;
    } catch (error) {
      unanswered.push(describeError(error));
      return instead;
    }
  };
  const ready = found.parts.filter((part) => part.state === 'ready');
  const certificates = ready
    .filter((part) => part.kind === 'ztunnel')
    .map(async (part) => {
      const dump = (await ask(readAdminJson(part, '/config_dump'), {})) as ConfigDump;
      return leafCertificates(dump).map((leaf) => ({ ...leaf, node: part.node ?? '' }));
    });
  const controlPlane = ready.find((part) => part.kind === 'istiod-lite');
  const sync = controlPlane === undefined ? [] : await ask(readSync(controlPlane), []);
  const refused = controlPlane === undefined ? [] : await ask(readConfigProblems(controlPlane), []);
  return {
    ...found,
    problems: [...found.problems, ...refused],
    certificates: (await Promise.all(certificates)).flat(),
    sync,
    unanswered,
  };
}

const STATE_STYLE = {
  ready: 'good',
  starting: 'warning',
  'backing-off': 'bad',
  stopped: 'bad',
} as const satisfies Record<PartState, string>;

const ENROLMENT_STYLE = {
  enabled: 'good',
  pending: 'warning',
  waiting: 'warning',
  none: 'dim',
} as const satisfies Record<Enrolment, string>;

function formatOverview(terminal: Terminal, overview: Overview): string {
  const nowMs = Date.now();
  const age = formatAge(Math.floor((nowMs - Date.parse(overview.startedAt)) / 1000) * 1000);
  const state = overview.ready && overview.settled ? 'ready' : 'not ready';
  const style = state === 'ready' ? 'good' : 'warning';
  const head = `Sandbox "${overview.name}" has been up for ${age} and is ${paint(terminal, style, state)}\n`;
  const sections = [
    head,
    partsTable(terminal, overview),
    nodesTable(terminal, overview),
    podsTable(terminal, overview),
    certificatesTable(terminal, overview, nowMs),
    syncTable(terminal, overview),
    notes(terminal, [...overview.problems, ...overview.unanswered], 'Problems'),
    notes(terminal, overview.unsettled, 'Still under way'),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function partDetail({ state, detail = '', draining = 0 }: Overview['parts'][number]): string {
  if (state !== 'ready') return detail;
  if (draining === 0) return ' ';
  return draining === 1 ? 'an earlier process drains' : `${draining} earlier processes drain`;
}

function partsTable(terminal: Terminal, { parts }: Overview): string {
  return formatTable(
    terminal,
    ['PART', 'STATE', 'RESTARTS', 'DETAIL'],
    parts.map((part) => [
      part.name,
      { text: part.state, style: STATE_STYLE[part.state] },
      part.restarts,
      partDetail(part),
    ]),
  );
}

function nodesTable(terminal: Terminal, { nodes }: Overview): string {
  return formatTable(
    terminal,
    ['NODE', 'ADDRESS', 'POD CIDR', 'PODS'],
    nodes.map((node) => [node.name, node.addresses.join(','), node.podCidrs.join(','), node.pods]),
  );
}

function podsTable(terminal: Terminal, { pods }: Overview): string {
  if (pods.length === 0) return '';
  const plain = pods.some((pod) => pod.openPlainConnections > 0);
  const row = (pod: Overview['pods'][number]): Cell[] => [
    pod.namespace,
    pod.name,
    pod.ready ? pod.containersReady : { text: pod.containersReady, style: 'warning' },
    pod.phase,
    { text: pod.enrolment === 'none' ? '-' : pod.enrolment, style: ENROLMENT_STYLE[pod.enrolment] },
    pod.serviceAccount,
    pod.addresses.join(','),
    pod.node,
    ...(plain ? [pod.openPlainConnections] : []),
  ];
  // Connections from before enrolment: the one thing that policy does not reach.
  const headings = ['NAMESPACE', 'POD', 'READY', 'STATUS', 'MESH', 'ACCOUNT', 'ADDRESS', 'NODE'];
  return formatTable(terminal, plain ? [...headings, 'OPEN PLAIN'] : headings, pods.map(row));
}

function certificatesTable(terminal: Terminal, { certificates }: Overview, nowMs: number): string {
  if (certificates.length === 0) return '';
  return formatTable(
    terminal,
    ['CERTIFICATE', 'STATE', 'EXPIRES IN', 'SERIAL NUMBER', 'NODE'],
    certificates.map(({ identity, state, notAfter, serialNumber, node }) => [
      identity,
      state === 'Available' ? { text: state, style: 'good' } : { text: state, style: 'bad' },
      notAfter === '' ? '' : formatAge(Math.max(0, Date.parse(notAfter) - nowMs)),
      serialNumber,
      node,
    ]),
  );
}

function syncTable(terminal: Terminal, { sync }: Overview): string {
  if (sync.length === 0) return '';
  return formatTable(
    terminal,
    ['PROXY', 'SYNC', 'REVISION', 'DETAIL'],
    sync.map((proxy) => [
      proxy.name,
      proxy.inSync ? { text: 'synced', style: 'good' } : { text: 'behind', style: 'warning' },
      proxy.revision,
      proxy.detail === '' ? ' ' : proxy.detail,
    ]),
  );
}

function notes(terminal: Terminal, lines: readonly string[], heading: string): string {
  if (lines.length === 0) return '';
  return `${paint(terminal, 'warning', heading)}\n${lines.map((line) => `  ${printable(line)}\n`).join('')}`;
}
