import type { HttpRoutes, HttpRule, ServiceRoutes } from '../../mesh/model/http-route.ts';
import { serviceKey, type ServiceKey } from '../../mesh/model/service.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import { serviceHostname } from '../translate/names.ts';
import { translateServiceRoutes } from '../translate/routes.ts';
import type { RouteParent } from '../translate/routes/parents.ts';
import { objectWaypoint } from '../translate/services.ts';
import { namespaceOfFirst } from '../translate/waypoint-namespace.ts';
import { callersOf } from './callers.ts';
import { warning, type CheckedMesh, type Finding } from './mesh.ts';
import { shadowedRules } from './shadowed.ts';

const ROUTE_KINDS = ['HTTPRoute', 'GRPCRoute', 'VirtualService'];

/** What the rules of a route do together, or with those of other services: by what a waypoint would be told. */
export function checkRoutes(mesh: CheckedMesh, { kind, ref }: KubernetesObject): Finding[] {
  if (!ROUTE_KINDS.includes(kind)) return [];
  return [...(findingsOf(mesh).get(`${kind}/${ref.namespace}/${ref.name}`)?.values() ?? [])];
}

/** By the object that a rule's name begins with, then by message. */
type Findings = Map<string, Map<string, Finding>>;

const known = new WeakMap<CheckedMesh, Findings>();

function findingsOf(mesh: CheckedMesh): Findings {
  const before = known.get(mesh);
  if (before !== undefined) return before;
  const findings: Findings = new Map();
  const add = ({ name }: HttpRule, message: string, mend = ''): void => {
    const [kind = '', namespace = '', object = '', ...rule] = name.split('/');
    const owner = `${kind}/${namespace}/${object}`;
    const ofOwner = findings.get(owner) ?? new Map<string, Finding>();
    findings.set(owner, ofOwner);
    const said = `rule ${rule.join('/')}: ${message}`;
    ofOwner.set(said, warning(said, mend));
  };
  const routed = [...routedServices(mesh)];
  for (const { routes } of routed)
    for (const each of httpRoutesOf(routes)) {
      for (const { rule, by } of shadowedRules(each))
        add(rule, `never has a request: ${by.name} has them all before it`);
      for (const rule of each.rules) checkTimeouts(rule, add);
    }
  checkChains(mesh, routed, add);
  known.set(mesh, findings);
  return findings;
}

type Add = (rule: HttpRule, message: string, mend?: string) => void;

function checkTimeouts(rule: HttpRule, add: Add): void {
  const { timeoutMs, retry } = rule;
  const each = retry?.perTryTimeoutMs;
  if (timeoutMs === undefined || retry === undefined || each === undefined) return;
  const tries = retry.attempts + 1;
  if (each >= timeoutMs)
    add(
      rule,
      `a try may take ${each}ms, and the whole request no more than ${timeoutMs}ms: nothing is tried again after a slow try`,
      'make the timeout of a try shorter',
    );
  else if (each * tries > timeoutMs)
    add(
      rule,
      `its ${tries} tries of ${each}ms each do not fit into the ${timeoutMs}ms of the whole request`,
      'make the timeout of the request longer, or the tries fewer or shorter',
    );
}

/** Three tries at each of two hops: what Istio's defaults come to. */
const MOST_TRIES = 9;

/** A call that a caller gives up while what it called still waits, and tries that multiply from hop to hop. */
function checkChains(mesh: CheckedMesh, routed: readonly RoutedService[], add: Add): void {
  const byService = new Map(routed.map((each) => [each.service, each]));
  const rulesOf = (service: ServiceKey): HttpRule[] => {
    const routes = byService.get(service)?.routes;
    return routes === undefined ? [] : httpRoutesOf(routes).flatMap(({ rules }) => rules);
  };
  const triesOf = ({ retry }: HttpRule): number => 1 + (retry?.attempts ?? 0);
  const most = (service: ServiceKey): number => Math.max(1, ...rulesOf(service).map(triesOf));
  for (const { service, object } of routed) {
    const inner = rulesOf(service);
    if (inner.length === 0) continue;
    for (const chain of chainsTo(mesh, byService, { service, object })) {
      const way = [...chain, service].map((one) => one.slice(one.indexOf('/') + 1)).join(' -> ');
      const outerTries = chain.reduce((product, one) => product * most(one), 1);
      for (const rule of inner) {
        const tries = outerTries * triesOf(rule);
        if (triesOf(rule) > 1 && outerTries > 1 && tries > MOST_TRIES)
          add(
            rule,
            `one request becomes up to ${tries} on its way ${way}: every hop tries again what the next has tried`,
            'let one hop of the way try again',
          );
        const [caller] = chain.slice(-1);
        for (const outer of caller === undefined ? [] : rulesOf(caller))
          if (outer.timeoutMs !== undefined && (rule.timeoutMs ?? 0) > outer.timeoutMs)
            add(
              outer,
              `waits ${outer.timeoutMs}ms for a service that may wait ${rule.timeoutMs ?? 0}ms by ${rule.name}`,
              'make the outer timeout longer than the inner one',
            );
      }
    }
  }
}

/** Longer ways are not looked at: each of their parts is. */
const MOST_HOPS = 4;

/** The ways on which a service is called, each from its first service on; none comes by one twice. */
function chainsTo(
  mesh: CheckedMesh,
  byService: ReadonlyMap<ServiceKey, RoutedService>,
  { service, object }: Pick<RoutedService, 'service' | 'object'>,
  behind: readonly ServiceKey[] = [],
): ServiceKey[][] {
  if (behind.length >= MOST_HOPS) return [];
  const passed = [...behind, service];
  return callersOf(mesh, object).flatMap(({ ref: { namespace, name } }) => {
    const key = serviceKey(namespace, serviceHostname(namespace, name, mesh.settings));
    const caller = byService.get(key);
    if (caller === undefined || passed.includes(key)) return [];
    const longer = chainsTo(mesh, byService, caller, passed).map((chain) => [...chain, key]);
    return [[key], ...longer];
  });
}

type RoutedService = Readonly<{ service: ServiceKey; object: RouteParent; routes: ServiceRoutes }>;

function* routedServices({ snapshot, settings }: CheckedMesh): Iterable<RoutedService> {
  const parents: RouteParent[] = [...snapshot.all('Service'), ...snapshot.all('ServiceEntry')];
  for (const object of parents) {
    const { namespace, name } = object.ref;
    const { gateways } = objectWaypoint(snapshot, settings, object);
    const waypointNamespace = gateways.size === 0 ? namespace : namespaceOfFirst(gateways);
    const hosts =
      object.kind === 'Service' ? [serviceHostname(namespace, name, settings)] : object.spec.hosts;
    for (const hostname of hosts) {
      const target = { namespace, hostname, waypointNamespace };
      const routes = translateServiceRoutes(snapshot, settings, target, object);
      yield { service: serviceKey(namespace, hostname), object, routes };
    }
  }
}

function httpRoutesOf({ producer, consumer }: ServiceRoutes): HttpRoutes[] {
  return [producer, ...consumer.values()].flatMap((ports) =>
    [...ports.values()].flatMap((each) => (each.kind === 'http' ? [each.routes] : [])),
  );
}
