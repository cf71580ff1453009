import type {
  ExplainStep,
  GatewayExplanation,
  InboundExplanation,
  OutboundExplanation,
  PolicyExplanation,
  RequestExplanation,
} from '../mesh/model/explain.ts';
import { formatTable, type Cell } from './table.ts';
import { paint, printable, type Style, type Terminal } from './terminal.ts';

/** The hops of one connection, each as the proxy that takes it explains it. */
export type Explanation = Readonly<{
  source: string;
  destination: string;
  /** Where the source's own proxy sends it; absent when the source is not in the mesh. */
  outbound?: OutboundExplanation;
  /** What a gateway would do with a client's request, where the story begins there. */
  gateway?: GatewayExplanation;
  /** What its waypoint would do with a request, where one was asked about. */
  waypoint?: RequestExplanation;
  /** Absent when it ends before the last hop, or outside the mesh. */
  inbound?: InboundExplanation;
  allowed: boolean;
  /** The end of the story in one line. */
  verdict: string;
}>;

/** The story of one connection, for people. */
export function formatExplanation(terminal: Terminal, explanation: Explanation): string {
  const { source, destination, outbound, gateway, waypoint, inbound, allowed, verdict } =
    explanation;
  const sections = [`${paint(terminal, 'bold', printable(`${source} -> ${destination}`))}\n`];
  if (outbound !== undefined)
    sections.push(
      hop(
        terminal,
        `Out of ${podName(outbound.source.workload)}`,
        outboundLines(terminal, outbound),
      ),
    );
  if (gateway !== undefined)
    sections.push(hop(terminal, `Gateway ${gateway.gateway}`, requestLines(terminal, gateway)));
  if (waypoint !== undefined)
    sections.push(hop(terminal, `Waypoint ${waypoint.waypoint}`, requestLines(terminal, waypoint)));
  if (inbound !== undefined)
    sections.push(
      hop(terminal, `Into ${podName(inbound.workload)}`, inboundLines(terminal, inbound)),
    );
  const style: Style = allowed ? 'good' : 'bad';
  sections.push(`${paint(terminal, style, printable(verdict))}\n`);
  return sections.join('\n');
}

function hop(terminal: Terminal, title: string, lines: readonly string[]): string {
  const indented = lines
    .flatMap((line) => line.trimEnd().split('\n'))
    .map((line) => (line === '' ? '' : `  ${line}`));
  return `${paint(terminal, 'bold', printable(title))}\n${indented.join('\n')}\n`;
}

function outboundLines(
  terminal: Terminal,
  { source, steps, outcome }: OutboundExplanation,
): string[] {
  const { kind, reason, connectTo, authority, peers } = outcome;
  return [
    stepTable([
      { step: 'identity', found: source.identity },
      ...steps,
      ...(connectTo === undefined ? [] : [{ step: 'connects to', found: connectTo }]),
      ...(authority === undefined ? [] : [{ step: 'CONNECT', found: authority }]),
      ...(peers === undefined ? [] : [{ step: 'accepts', found: peers.join(', ') }]),
    ]),
    result(terminal, kind !== 'reject', kind, reason),
  ];
}

function inboundLines(terminal: Terminal, explanation: InboundExplanation): string[] {
  const { peer, target, plaintext, steps, policies, outcome, nearestAllow } = explanation;
  const proof = peer.identity ?? (plaintext ? 'none, it is plaintext' : 'none');
  const lines = [
    stepTable([
      { step: 'from', found: peer.ip },
      { step: 'identity', found: proof },
      { step: 'target', found: target },
      ...steps,
    ]),
  ];
  if (policies.length > 0) lines.push('', policyTable(terminal, policies), '');
  const status = outcome.status === undefined ? '' : ` (status ${outcome.status})`;
  lines.push(
    result(terminal, outcome.kind === 'admit', `${outcome.kind}${status}`, outcome.reason),
  );
  if (nearestAllow !== undefined)
    lines.push(
      printable(
        `nearest rule that would allow it: ${nearestAllow.policy}, rule ${nearestAllow.rule}; unmet: ${nearestAllow.unmet.join('; ')}`,
      ),
    );
  return lines;
}

function requestLines(
  terminal: Terminal,
  explanation: RequestExplanation | GatewayExplanation,
): string[] {
  const { request, steps, backends, outcome } = explanation;
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  const client = 'client' in explanation ? [{ step: 'client', found: explanation.client }] : [];
  const lines = [stepTable([...client, { step: 'request', found: request }, ...steps])];
  if (backends.length > 0) {
    const rows = backends.flatMap<readonly Cell[]>(({ backend, weight, problem, endpoints }) => {
      const share = `${total === 0 ? 0 : Math.round((weight * 1000) / total) / 10} %`;
      if (endpoints.length === 0)
        return [
          [backend, share, problem ?? 'none', { text: 'no endpoint', style: 'bad' as const }],
        ];
      return endpoints.map(({ workload, address, state }, index) => [
        ...(index === 0 ? [backend, share] : ['', '']),
        `${podName(workload)} (${address})`,
        { text: state, style: state === 'available' ? ('good' as const) : ('bad' as const) },
      ]);
    });
    lines.push('', formatTable(terminal, ['BACKEND', 'SHARE', 'ENDPOINT', 'STATE'], rows), '');
    for (const { backend, waypoint } of backends)
      if (waypoint !== undefined)
        lines.push(printable(`${backend} is reached through its waypoint ${waypoint}`));
    for (const { backend, tls } of backends)
      if (tls !== undefined) lines.push(printable(`TLS with ${backend}: ${tls}`));
    for (const { backend, policy } of backends)
      if (policy !== undefined)
        lines.push(printable(`BackendPolicy of ${backend}: ${policy}`.replaceAll('\n', ' ')));
  }
  const { kind, status, reason } = outcome;
  const good =
    kind === 'forward' || kind === 'bytes' || (kind === 'answer' && (status ?? 200) < 400);
  const code = status === undefined ? '' : ` (status ${status})`;
  lines.push(result(terminal, good, `${kind}${code}`, reason));
  return lines;
}

function stepTable(steps: readonly ExplainStep[]): string {
  const width = Math.max(...steps.map(({ step }) => step.length));
  return steps
    .map(({ step, found }) => printable(`${step.padEnd(width)}  ${found}`.replaceAll('\n', ' ')))
    .join('\n');
}

function policyTable(terminal: Terminal, policies: readonly PolicyExplanation[]): string {
  // In the order in which they decide: a DENY that matches is final.
  const ordered = [
    ...policies.filter(({ action }) => action === 'DENY'),
    ...policies.filter(({ action }) => action === 'ALLOW'),
  ];
  const rows = ordered.map(({ policy, scope, action, dryRun, matchedRule }) => [
    policy,
    scope,
    dryRun ? `${action} (dry run)` : action,
    matchedRule === undefined
      ? 'no rule matches'
      : {
          text: `rule ${matchedRule} matches`,
          style: action === 'DENY' ? ('bad' as const) : ('good' as const),
        },
  ]);
  return formatTable(terminal, ['POLICY', 'SCOPE', 'ACTION', 'RESULT'], rows);
}

function result(terminal: Terminal, good: boolean, kind: string, reason: string): string {
  return `${paint(terminal, good ? 'good' : 'bad', `=> ${printable(kind)}`)}: ${printable(reason)}`;
}

/** `shop/web` of the name by which the mesh knows a pod; any other name as it is. */
function podName(uid: string): string {
  return /^[^/]*\/\/Pod\/(.+)$/.exec(uid)?.[1] ?? uid;
}
