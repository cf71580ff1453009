import { MeshError } from '../../base/errors.ts';
import type {
  ApplyResponse,
  DeleteResponse,
  KubernetesObject,
  LabelRequest,
} from '../../deploy/sandbox/api.ts';
import {
  DATAPLANE_MODE,
  DATAPLANE_MODE_AMBIENT,
  USE_WAYPOINT,
} from '../../mesh/kubernetes/labels.ts';
import {
  defineVerb,
  EXIT,
  namespaceOptions,
  outputOptions,
  sandboxOptions,
  usageError,
  type ArgumentSpec,
  type OptionTable,
  type VerbGroup,
} from '../command.ts';
import { namespaceOf } from '../object-fields.ts';
import { printResult } from '../output.ts';
import { Progress } from '../progress.ts';
import { DEFAULT_NAMESPACE } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { formatTable } from '../table.ts';
import { printable, type Terminal } from '../terminal.ts';
import { timedOut, waitUntilInForce } from '../until-in-force.ts';
import {
  DEFAULT_WAYPOINT,
  listWaypoints,
  RESERVED_NAME,
  revisionOf,
  stateOf,
  TRAFFIC_TYPES,
  trafficOf,
  waitForWaypoints,
  waypointManifest,
  type WaypointWish,
} from '../waypoints.ts';
import { endpoints } from './waypoint-endpoints.ts';

const WAYPOINT: ArgumentSpec = {
  name: 'WAYPOINT',
  summary: `its name (default "${DEFAULT_WAYPOINT}")`,
  optional: true,
};

const KNOWN_WAYPOINT: ArgumentSpec = { ...WAYPOINT, complete: 'waypoints' };

const manifestOptions = {
  for: {
    type: 'text',
    placeholder: 'TRAFFIC',
    summary: 'what it is for (default service)',
    choices: TRAFFIC_TYPES,
  },
  revision: { type: 'text', placeholder: 'REVISION', summary: 'of the control plane that runs it' },
} as const satisfies OptionTable;

const waypointWait = {
  'no-wait': { type: 'flag', summary: 'return before it is ready' },
  timeout: {
    type: 'duration',
    placeholder: 'TIME',
    summary: 'how long to wait until it is ready',
    default: 90_000,
  },
} as const satisfies OptionTable;

const everywhere = {
  'all-namespaces': { type: 'flag', short: 'A', summary: 'of every namespace' },
} as const satisfies OptionTable;

const generate = defineVerb({
  name: 'generate',
  group: 'Commands',
  summary: 'Print the YAML of a waypoint',
  details: `Example:
  halo waypoint generate --for all -n shop | halo apply -f -`,
  arguments: [WAYPOINT],
  options: { ...manifestOptions, ...namespaceOptions },
  run({ options, arguments: [name], terminal }) {
    terminal.out(waypointManifest(wishOf(name, options)));
    return Promise.resolve(EXIT.ok);
  },
});

const apply = defineVerb({
  name: 'apply',
  group: 'Commands',
  summary: 'Run a waypoint in a namespace',
  details: `It returns when the waypoint is ready. What is to go through it says so by the label ${USE_WAYPOINT}, on a Service,
a Pod or a Namespace; --enroll-namespace sets it on the namespace.

Examples:
  halo waypoint apply -n shop --enroll-namespace
  halo waypoint apply payments --for workload -n shop`,
  arguments: [WAYPOINT],
  options: {
    ...manifestOptions,
    'enroll-namespace': { type: 'flag', summary: 'the whole namespace uses it' },
    overwrite: { type: 'flag', summary: 'also where the namespace uses another one' },
    ...waypointWait,
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [first], terminal }) {
    const wish = wishOf(first, options);
    const { name, namespace } = wish;
    const sandbox = new Sandbox(sandboxName(options.name));
    if (options['enroll-namespace'])
      await checkNamespace(sandbox, terminal, wish, options.overwrite);
    const documents = [{ source: 'waypoint', text: waypointManifest(wish) }];
    await sandbox.post<ApplyResponse>('/v1/apply', { documents });
    terminal.out(`waypoint ${namespace}/${name} applied\n`);
    if (!options['no-wait']) await untilReady(sandbox, terminal, [wish], options.timeout);
    // Only now: until it is ready, what names it is refused.
    if (options['enroll-namespace']) await enrol(sandbox, terminal, wish);
    await waitUntilInForce(sandbox, terminal, options);
    return EXIT.ok;
  },
});

const list = defineVerb({
  name: 'list',
  group: 'Commands',
  summary: 'The waypoints of a namespace',
  details: `Examples:
  halo waypoint list -n shop
  halo waypoint list -A`,
  options: { ...everywhere, ...namespaceOptions, ...outputOptions, ...sandboxOptions },
  async run({ options, terminal }) {
    const found = await find(new Sandbox(sandboxName(options.name)), options);
    printResult(terminal, options.output, { items: found }, () => {
      if (found.length === 0) return '';
      const all = options['all-namespaces'];
      const headings = ['NAME', 'REVISION', 'TRAFFIC TYPE', 'PROGRAMMED'];
      const rows = found.map((gateway) => [
        ...(all ? [namespaceOf(gateway)] : []),
        ...[gateway.metadata.name, revisionOf(gateway), trafficOf(gateway)],
        stateOf(gateway).programmed ? 'True' : 'False',
      ]);
      return formatTable(terminal, all ? ['NAMESPACE', ...headings] : headings, rows);
    });
    if (found.length === 0 && options.output === undefined) tellNone(terminal, options);
    return EXIT.ok;
  },
});

const status = defineVerb({
  name: 'status',
  group: 'Commands',
  summary: 'Whether waypoints are ready, and if not, why',
  details: `It waits until they are, unless told otherwise; when the time is over it ends with 4.

Examples:
  halo waypoint status -n shop
  halo waypoint status payments -n shop --no-wait`,
  arguments: [{ ...KNOWN_WAYPOINT, summary: 'only this one' }],
  options: {
    ...everywhere,
    ...waypointWait,
    ...namespaceOptions,
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [name], terminal }) {
    const sandbox = new Sandbox(sandboxName(options.name));
    const wanted = await find(sandbox, options, name);
    if (wanted.length === 0) {
      tellNone(terminal, options);
      return EXIT.ok;
    }
    const ready =
      options['no-wait'] ||
      (await waitForWaypoints(
        sandbox,
        wanted.map((gateway) => ({
          name: gateway.metadata.name,
          namespace: namespaceOf(gateway),
        })),
        options.timeout,
        terminal.signal,
      ));
    const found = await find(sandbox, options, name);
    printResult(terminal, options.output, { items: found }, () =>
      formatTable(
        terminal,
        ['NAMESPACE', 'NAME', 'STATUS', 'TYPE', 'REASON', 'MESSAGE'],
        found.map((gateway) => {
          const { programmed, reason, message } = stateOf(gateway);
          return [
            ...[namespaceOf(gateway), gateway.metadata.name, programmed ? 'True' : 'False'],
            ...['Programmed', reason, message],
          ];
        }),
      ),
    );
    return ready ? EXIT.ok : EXIT.timedOut;
  },
});

const remove = defineVerb({
  name: 'delete',
  group: 'Commands',
  summary: 'Delete waypoints, and what runs them',
  details: `What still names a deleted waypoint is refused, until the label goes too.

Examples:
  halo waypoint delete payments -n shop
  halo waypoint delete --all -n shop`,
  arguments: [{ ...KNOWN_WAYPOINT, summary: 'their names', rest: true }],
  options: {
    all: { type: 'flag', summary: 'every waypoint of the namespace' },
    ...waypointWait,
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: names, terminal }) {
    if ((names.length === 0) !== options.all)
      throw usageError('Name either waypoints to delete, or --all');
    const namespace = options.namespace ?? DEFAULT_NAMESPACE;
    const sandbox = new Sandbox(sandboxName(options.name));
    const known = (await listWaypoints(sandbox, namespace)).map(({ metadata }) => metadata.name);
    const unknown = names.filter((name) => !known.includes(name));
    const wanted = options.all ? known : names.filter((name) => known.includes(name));
    const objects = wanted.map((name) => ({ kind: 'Gateway', namespace, name }));
    const { deleted } = await sandbox.post<DeleteResponse>('/v1/delete', { objects });
    for (const { name } of deleted) terminal.out(`waypoint ${namespace}/${name} deleted\n`);
    for (const name of unknown)
      terminal.note(printable(`there is no waypoint ${namespace}/${name}\n`));
    await waitUntilInForce(sandbox, terminal, options);
    return unknown.length > 0 ? EXIT.failed : EXIT.ok;
  },
});

export const waypoint: VerbGroup = {
  name: 'waypoint',
  aliases: ['wp'],
  group: 'Objects',
  summary: 'Run waypoints, the L7 proxies of namespaces and services',
  commands: [apply, list, status, endpoints, remove, generate],
};

function wishOf(
  given: string | undefined,
  options: Readonly<{
    for: string | undefined;
    revision: string | undefined;
    namespace: string | undefined;
  }>,
): WaypointWish {
  const name = given ?? DEFAULT_WAYPOINT;
  if (name === RESERVED_NAME)
    throw usageError(
      `No waypoint can be named "${RESERVED_NAME}": in labels it stands for no waypoint`,
    );
  const { for: traffic, revision, namespace = DEFAULT_NAMESPACE } = options;
  return { name, namespace, traffic, revision };
}

async function find(
  sandbox: Sandbox,
  options: Readonly<{ 'all-namespaces': boolean; namespace: string | undefined }>,
  name?: string,
): Promise<readonly KubernetesObject[]> {
  const all = options['all-namespaces'];
  const namespace = all ? undefined : (options.namespace ?? DEFAULT_NAMESPACE);
  const found = await listWaypoints(sandbox, namespace);
  if (name === undefined) return found;
  const named = found.filter(({ metadata }) => metadata.name === name);
  if (named.length > 0) return named;
  const where = namespace === undefined ? '' : ` in namespace ${namespace}`;
  throw new MeshError('ERR_NOT_FOUND', 'local', `Cannot find waypoint "${name}"${where}`);
}

function tellNone(
  terminal: Terminal,
  options: Readonly<{ 'all-namespaces': boolean; namespace: string | undefined }>,
): void {
  const where = options['all-namespaces']
    ? ''
    : ` in namespace ${options.namespace ?? DEFAULT_NAMESPACE}`;
  terminal.note(`No waypoints${where}\n`);
}

/** @throws {MeshError} ERR_TIMED_OUT with what their status says. */
async function untilReady(
  sandbox: Sandbox,
  terminal: Terminal,
  [wish]: readonly [WaypointWish],
  timeoutMs: number,
): Promise<void> {
  const { name, namespace } = wish;
  using _progress = new Progress(terminal, `Waiting for waypoint ${namespace}/${name}`);
  if (await waitForWaypoints(sandbox, [wish], timeoutMs, terminal.signal)) {
    terminal.out(`waypoint ${namespace}/${name} is ready\n`);
    return;
  }
  const [gateway] = await sandbox.objects({ kind: 'Gateway', namespace, name });
  const { reason, message } =
    gateway === undefined ? { reason: '', message: 'it is gone' } : stateOf(gateway);
  throw timedOut(`waypoint ${namespace}/${name} is not ready: ${reason} ${message}`.trimEnd());
}

/** @throws {MeshError} ERR_WAYPOINT when the namespace uses another waypoint, which is not to be taken from it. */
async function checkNamespace(
  sandbox: Sandbox,
  terminal: Terminal,
  { name, namespace }: WaypointWish,
  overwrite: boolean,
): Promise<void> {
  const [owner] = await sandbox.objects({ kind: 'Namespace', name: namespace });
  const labels = owner?.metadata.labels ?? {};
  const used = labels[USE_WAYPOINT];
  if (used !== undefined && used !== name && !overwrite)
    throw new MeshError(
      'ERR_WAYPOINT',
      'local',
      `Cannot enrol namespace ${namespace}: it uses waypoint ${used}; --overwrite replaces that`,
    );
  if (labels[DATAPLANE_MODE] !== DATAPLANE_MODE_AMBIENT)
    terminal.note(
      `Namespace ${namespace} is not in the mesh: halo label ns ${namespace} ${DATAPLANE_MODE}=${DATAPLANE_MODE_AMBIENT}\n`,
    );
}

async function enrol(
  sandbox: Sandbox,
  terminal: Terminal,
  { name, namespace }: WaypointWish,
): Promise<void> {
  const request: LabelRequest = {
    object: { kind: 'Namespace', name: namespace },
    labels: { [USE_WAYPOINT]: name },
    resetOpen: false,
  };
  await sandbox.post('/v1/label', request);
  terminal.out(`namespace ${namespace} labelled ${USE_WAYPOINT}=${name}\n`);
}
