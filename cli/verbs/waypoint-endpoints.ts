import type { EndpointEvent, ReportedTarget } from '../../mesh/model/endpoint-report.ts';
import { readAdminJson } from '../admin-pages.ts';
import { defineVerb, EXIT, namespaceOptions, outputOptions, sandboxOptions } from '../command.ts';
import { printResult } from '../output.ts';
import { DEFAULT_NAMESPACE } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { formatTable, type Cell } from '../table.ts';
import { podsOfWaypoint } from '../waypoint-pods.ts';
import { DEFAULT_WAYPOINT } from '../waypoints.ts';

type PodReport = Readonly<{
  pod: string;
  targets: readonly ReportedTarget[];
  events: readonly EndpointEvent[];
}>;

/** What has happened since is in the log. */
const SHOWN_EVENTS = 20;

export const endpoints = defineVerb({
  name: 'endpoints',
  group: 'Commands',
  summary: 'What a waypoint sends requests to, and what happened to it',
  details: `Each of its pods has learnt for itself which endpoints fail. What no request was sent to yet is not listed.

Examples:
  halo waypoint endpoints -n shop
  halo waypoint endpoints payments -n shop -o json`,
  arguments: [
    {
      name: 'WAYPOINT',
      summary: `its name (default "${DEFAULT_WAYPOINT}")`,
      optional: true,
      complete: 'waypoints',
    },
  ],
  options: { ...namespaceOptions, ...outputOptions, ...sandboxOptions },
  async run({ options, arguments: [name = DEFAULT_WAYPOINT], terminal }) {
    const namespace = options.namespace ?? DEFAULT_NAMESPACE;
    const sandbox = new Sandbox(sandboxName(options.name));
    const pods = await podsOfWaypoint(sandbox, namespace, name);
    if (pods.length === 0) {
      terminal.note(`No pod of waypoint ${namespace}/${name} is ready\n`);
      return EXIT.failed;
    }
    const items = await Promise.all(
      pods.map(
        async (pod): Promise<PodReport> => ({
          pod: pod.name,
          targets: (await readAdminJson(pod, '/endpoints')) as readonly ReportedTarget[],
          events: (await readAdminJson(pod, '/events')) as readonly EndpointEvent[],
        }),
      ),
    );
    printResult(terminal, options.output, { items }, () => {
      const rows = items.flatMap(endpointRows);
      const events = items.flatMap(eventRows);
      const headings = ['POD', 'TARGET', 'ENDPOINT', 'STATE', 'ACTIVE'];
      const table = formatTable(terminal, headings, rows);
      if (events.length === 0) return table;
      const eventHeadings = ['TIME', 'POD', 'EVENT', 'ENDPOINT', 'REASON'];
      return `${table}\n${formatTable(terminal, eventHeadings, events)}`;
    });
    return EXIT.ok;
  },
});

function endpointRows({ pod, targets }: PodReport): Cell[][] {
  return targets.flatMap(({ target, endpoints: members }) =>
    members.map(({ address, condition, active }): Cell[] => [
      ...[pod, target, address],
      { text: condition, style: condition === 'available' ? 'good' : 'bad' },
      String(active),
    ]),
  );
}

function eventRows({ pod, events }: PodReport): Cell[][] {
  return events
    .slice(-SHOWN_EVENTS)
    .map(({ time, kind, endpoint, reason }) => [time, pod, kind, endpoint, reason]);
}
