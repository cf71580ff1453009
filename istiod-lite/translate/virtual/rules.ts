import {
  RETRY_CONDITIONS,
  type HttpBackend,
  type HttpMatch,
  type HttpRule,
  type RetryCondition,
  type RetryPolicy,
  type TcpRoute,
} from '../../../mesh/model/http-route.ts';
import { httpRuleProblem } from '../../../mesh/model/http-rule-problem.ts';
import {
  retryOnParts,
  type RouteDestination,
  type VirtualHttpRoute,
} from '../../../mesh/kubernetes/virtual-service.ts';
import { DEFAULT_BACKOFF_MS } from '../routes/rules.ts';
import { resolveDestination } from './destinations.ts';
import { delegated } from './delegates.ts';
import { dependsOnMatch, ruleFilters } from './filters.ts';
import { headerFilters } from './headers.ts';
import { EVERYTHING, translateMatches, type TranslatedMatch } from './matches.ts';
import { isForMesh, type VirtualParts } from './parts.ts';

/** The rules for requests that a VirtualService has for a port of a service, in its order; none where it has none for the port. */
export function virtualHttpRules(parts: VirtualParts): HttpRule[] {
  return parts.virtual.spec.http.flatMap((route, index) => {
    const note = (message: string): void => {
      parts.note(`http[${index}]: ${message}`);
    };
    const at = { ...parts, note };
    const matches = translateMatches(route, at);
    if (route.delegate !== undefined)
      return delegated(route, matches, at).flatMap((one) =>
        'problem' in one
          ? [refusal(nameOf(parts, route, index), one.matches, one.problem)]
          : rulesOf(nameOf(one.parts, one.route, one.index), one.route, one.matches, one.parts),
      );
    return rulesOf(nameOf(parts, route, index), route, matches, at);
  });
}

function nameOf({ virtual }: VirtualParts, { name }: VirtualHttpRoute, index: number): string {
  return `VirtualService/${virtual.ref.namespace}/${virtual.ref.name}/${name || index}`;
}

/** One rule, but one for each match where it matters how a request was matched. */
function rulesOf(
  name: string,
  route: VirtualHttpRoute,
  matches: 'all' | readonly TranslatedMatch[],
  parts: VirtualParts,
): HttpRule[] {
  if (matches === 'all') return [usable(ruleOf(name, route, [], parts), parts)];
  const rules: HttpRule[] = [];
  let group: HttpMatch[] = [];
  const endGroup = (): void => {
    if (group.length > 0) rules.push(usable(ruleOf(name, route, group, parts), parts));
    group = [];
  };
  for (const { match, problem } of matches) {
    if (problem !== undefined) {
      endGroup();
      rules.push(refusal(name, [match], problem));
      continue;
    }
    if (dependsOnMatch(route)) endGroup();
    group.push(match);
  }
  endGroup();
  return rules;
}

function ruleOf(
  name: string,
  route: VirtualHttpRoute,
  given: readonly HttpMatch[],
  parts: VirtualParts,
): HttpRule {
  // Without a path, `/` is the prefix that a rewrite replaces.
  const matches = dependsOnMatch(route)
    ? (given.length === 0 ? [EVERYTHING] : given).map(
        (match): HttpMatch => ({ path: { kind: 'text-prefix', value: '/' }, ...match }),
      )
    : given;
  const { timeout } = route;
  const retry = retryPolicy(route, parts);
  const only = route.route.length === 1;
  return {
    ...{ name, matches },
    filters: ruleFilters(route, matches[0]?.path, parts),
    backends: route.route.map((one) => backendOf(one, only, parts)),
    ...(timeout !== undefined && timeout > 0 && { timeoutMs: timeout }),
    ...(retry !== undefined && { retry }),
  };
}

/** A destination alone has all requests, whatever its weight. */
function backendOf(
  { destination, weight, headers }: RouteDestination,
  only: boolean,
  parts: VirtualParts,
): HttpBackend {
  const found = resolveDestination(parts, destination, 'requests');
  if ('problem' in found) parts.note(`${found.problem}: its share is answered with 500`);
  return { ...found, weight: only ? 1 : weight, filters: headerFilters(headers, parts) };
}

/** What is tried again where a policy does not say it. istio/istio pilot/pkg/networking/core/route/retry. */
const DEFAULT_CONDITIONS = [
  ...(['connect-failure', 'refused-stream', 'unavailable', 'cancelled'] as const),
] as const;

function retryPolicy(
  { retries }: VirtualHttpRoute,
  { note }: VirtualParts,
): RetryPolicy | undefined {
  if (retries === undefined) return undefined;
  const { attempts, perTryTimeout, backoff } = retries;
  if (retries.retryRemoteLocalities === true) note('retries.retryRemoteLocalities has no effect');
  if (retries.retryIgnorePreviousHosts === false)
    note('retries.retryIgnorePreviousHosts has no effect: endpoints that were tried come last');
  const conditions = new Set<RetryCondition>();
  const statusCodes: number[] = [];
  const written = retryOnParts(retries.retryOn);
  for (const part of written) {
    const known = RETRY_CONDITIONS.find((condition) => condition === part);
    if (known !== undefined) conditions.add(known);
    else if (/^[0-9]+$/.test(part)) {
      conditions.add('retriable-status-codes');
      statusCodes.push(Number(part));
    } else note(`retries.retryOn: ${part} has no effect`);
  }
  if (written.length === 0) for (const condition of DEFAULT_CONDITIONS) conditions.add(condition);
  return {
    attempts: Math.max(0, attempts),
    ...{ conditions: [...conditions], statusCodes },
    ...(perTryTimeout !== undefined && { perTryTimeoutMs: perTryTimeout }),
    backoffMs: backoff ?? DEFAULT_BACKOFF_MS,
  };
}

/** A rule that a waypoint would refuse keeps its requests, which are then refused. */
function usable(rule: HttpRule, parts: VirtualParts): HttpRule {
  const problem = httpRuleProblem(rule);
  if (problem === undefined) return rule;
  parts.note(`its requests are answered with 500: ${problem}`);
  const refused = refusal(rule.name, rule.matches, problem);
  // Where the matches themselves are what cannot be used, no request is known not to be meant.
  return httpRuleProblem(refused) === undefined ? refused : { ...refused, matches: [] };
}

function refusal(name: string, matches: readonly HttpMatch[], problem: string): HttpRule {
  const filters = [{ kind: 'respond' as const, status: 500, body: '', reason: problem }];
  return { name, matches, filters, backends: [] };
}

/** Where all connections to a port go; `undefined` where no entry is for the port. */
export function virtualTcpRoute(parts: VirtualParts): TcpRoute | undefined {
  const { virtual, target } = parts;
  for (const [index, { match, route }] of virtual.spec.tcp.entries()) {
    const note = (message: string): void => {
      parts.note(`tcp[${index}]: ${message}`);
    };
    const name = `VirtualService/${virtual.ref.namespace}/${virtual.ref.name}/tcp-${index}`;
    const fitting = fittingTcpMatch(match, target.port, note);
    if (fitting === 'none') continue;
    if (fitting !== 'all') return { name, backends: [{ problem: fitting.problem, weight: 1 }] };
    const only = route.length === 1;
    const backends = route.map(({ destination, weight }) => {
      const found = resolveDestination({ ...parts, note }, destination, 'bytes');
      if ('problem' in found) note(`${found.problem}: its share is refused`);
      return { ...found, weight: only ? 1 : weight };
    });
    return { name, backends };
  }
  return undefined;
}

type TcpMatches = VirtualParts['virtual']['spec']['tcp'][number]['match'];

function fittingTcpMatch(
  matches: TcpMatches,
  port: number,
  note: (message: string) => void,
): 'all' | 'none' | Readonly<{ problem: string }> {
  if (matches.length === 0) return 'all';
  let found: 'none' | Readonly<{ problem: string }> = 'none';
  for (const [index, match] of matches.entries()) {
    if (!isForMesh(match.gateways)) continue;
    if (match.port !== undefined && match.port !== port) continue;
    if (match.sourceLabels.size > 0) {
      note(`match[${index}] is left out: a waypoint does not know sourceLabels of its clients`);
      continue;
    }
    const { destinationSubnets, sourceNamespace, sourceSubnet } = match;
    if (destinationSubnets.length === 0 && sourceNamespace === '' && sourceSubnet === '')
      return 'all';
    // Whom it is for cannot be told, and where the others go neither.
    const problem = `match[${index}]: connections are matched by port alone, so those to port ${port} are refused`;
    note(problem);
    found = { problem };
  }
  return found;
}
