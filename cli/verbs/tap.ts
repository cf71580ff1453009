import { streamAdminLines } from '../../mesh/admin/client.ts';
import { defineVerb, EXIT, namespaceOptions, sandboxOptions } from '../command.ts';
import { namespaceOf } from '../object-fields.ts';
import { findService } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { formatTapLine } from '../tap-text.ts';
import { waypointPodsOf, type WaypointPod } from '../waypoint-pods.ts';

export const tap = defineVerb({
  name: 'tap',
  group: 'Looking into it',
  summary: 'Watch the requests of a Service, live, as its waypoint sees them',
  details: `Each request is told when it has ended: who asked, what, and what became of it. Only requests from now on are seen, and
only while this runs; when they are too many, some are left out, and their number is told. Values of headers and of query
parameters that may be secret are never shown.

SERVICE is NAME, NAME.NAMESPACE or NAMESPACE/NAME. With --output json each request is a line of JSON, with its headers.

Examples:
  halo tap web.shop
  halo tap web.shop --method POST --status 5xx
  halo tap web.shop --source shop/client --header x-user=alice --max 10 -o json`,
  arguments: [{ name: 'SERVICE', summary: 'whose requests', complete: 'services' }],
  options: {
    method: { type: 'text', placeholder: 'METHOD', summary: 'only with this method' },
    path: { type: 'text', placeholder: 'PREFIX', summary: 'only with paths that begin so' },
    status: {
      type: 'text',
      placeholder: 'STATUS',
      summary: 'only with this status, such as 503 or 5xx',
    },
    source: {
      type: 'text',
      placeholder: 'SOURCE',
      summary: 'only of clients of this NAMESPACE, or NAMESPACE/SERVICE_ACCOUNT',
    },
    header: {
      type: 'list',
      placeholder: 'NAME=VALUE',
      summary: 'only with this header; all that are given must be there',
    },
    max: {
      type: 'number',
      placeholder: 'COUNT',
      summary: 'end after so many requests',
      min: 1,
      max: 999_999_999,
    },
    output: {
      type: 'text',
      short: 'o',
      placeholder: 'FORMAT',
      summary: 'json: a line for each',
      choices: ['json'],
    },
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [reference = ''], terminal }) {
    const sandbox = new Sandbox(sandboxName(options.name));
    const service = await findService(sandbox, reference, options.namespace);
    const pods = await waypointPodsOf(sandbox, service);
    const ended = new AbortController();
    const signal = AbortSignal.any([terminal.signal, ended.signal]);
    const query = new URLSearchParams(
      options.header.map((header): [string, string] => ['header', header]),
    );
    query.set('service', `${namespaceOf(service)}/${service.metadata.name}`);
    for (const name of ['method', 'path', 'status', 'source'] as const) {
      const value = options[name];
      if (value !== undefined) query.set(name, value);
    }
    let left = options.max ?? Infinity;
    const follow = async ({ name, adminSocket }: WaypointPod): Promise<void> => {
      const target = { kind: 'unix', path: adminSocket } as const;
      for await (const line of streamAdminLines(target, `/tap?${query.toString()}`, signal)) {
        const told = JSON.parse(line) as Record<string, unknown>;
        if ('tapping' in told) terminal.note(`watching waypoint ${name}\n`);
        else if (typeof told['dropped'] === 'number')
          terminal.note(`${told['dropped']} requests were too many to show\n`);
        else {
          if (left <= 0) return;
          left--;
          terminal.out(options.output === 'json' ? `${line}\n` : formatTapLine(terminal, told));
          if (left <= 0) ended.abort();
        }
      }
    };
    try {
      await Promise.all(pods.map(follow));
    } finally {
      ended.abort();
    }
    return EXIT.ok;
  },
});
