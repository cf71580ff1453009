import type {
  GatewayListener,
  GatewayListeners,
  HostConnections,
  HostRoutes,
  ListenerService,
} from '../../../mesh/model/gateway-listener.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import type { Picture } from '../../snapshot.ts';
import { gatewayRateLimits } from '../rate-limits.ts';
import { translateRoute, type TranslatedRoute } from '../routes/rules.ts';
import type { MeshSettings } from '../settings.ts';
import type { Attachment, GatewayAttachments } from './attach.ts';
import { backendCertificate } from './listener-tls.ts';
import { isServed, keyOfGateway, type EvaluatedListener } from './listeners.ts';

/** What a gateway is told: its listeners that can be served, each with the rules of its routes. */
export function translateListeners(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
  attachments: GatewayAttachments,
): GatewayListeners {
  const known = new Map<Route, TranslatedRoute>();
  const translate = (route: Route): TranslatedRoute => {
    const made = known.get(route) ?? translateRoute(picture, settings, route, 'asks for grants');
    known.set(route, made);
    return made;
  };
  const { certificate } = backendCertificate(picture, gateway);
  const limits = gatewayRateLimits(picture, settings, gateway);
  return {
    gateway: keyOfGateway(gateway),
    ...(limits.length > 0 && { limits }),
    ...(certificate && { clientCertificate: certificate }),
    listeners: attachments.listeners.filter(isServed).map(
      (listener): GatewayListener => ({
        ...{ name: nameOf(listener), port: listener.spec.port, hostname: listener.hostname },
        serves: servedBy(listener, attachments.of(listener), translate),
        ...(listener.tls && { tls: listener.tls }),
      }),
    ),
  };
}

function nameOf({ owner: { kind, ref }, spec }: EvaluatedListener): string {
  return kind === 'Gateway' ? spec.name : `${ref.namespace}/${ref.name}/${spec.name}`;
}

function servedBy(
  { spec, passthrough }: EvaluatedListener,
  attached: readonly Attachment[],
  translate: (route: Route) => TranslatedRoute,
): ListenerService {
  switch (spec.protocol) {
    case 'TLS': {
      const kind = passthrough === true ? 'passthrough' : 'tcp';
      return { kind, hosts: hostConnections(attached, translate) };
    }
    case 'TCP':
      return { kind: 'tcp', hosts: hostConnections(attached, translate) };
    case 'UDP': {
      const [first] = hostConnections(attached, translate);
      return { kind: 'udp', ...(first && { route: first.route }) };
    }
    default:
      return { kind: 'http', hosts: hostRoutes(attached, translate) };
  }
}

/** Of connections and datagrams there is nothing to match: of several routes for one name, the oldest has them all. */
function hostConnections(
  attached: readonly Attachment[],
  translate: (route: Route) => TranslatedRoute,
): HostConnections[] {
  const taken = new Set<string>();
  return attached.flatMap(({ route, hostnames }): HostConnections[] => {
    const free = hostnames.filter((name) => !taken.has(name));
    for (const name of free) taken.add(name);
    const made = translate(route);
    return free.length === 0 || made.kind !== 'tcp' ? [] : [{ hostnames: free, route: made.route }];
  });
}

/** The rules for each host name; names with the same routes are told together. */
function hostRoutes(
  attached: readonly Attachment[],
  translate: (route: Route) => TranslatedRoute,
): HostRoutes[] {
  const byName = new Map<string, Route[]>();
  for (const { route, hostnames } of attached)
    for (const name of hostnames) {
      const routes = byName.get(name);
      if (routes === undefined) byName.set(name, [route]);
      else routes.push(route);
    }
  const groups = Map.groupBy([...byName].sort(byText), ([, routes]) =>
    routes.map(({ key }) => key).join('\n'),
  );
  return [...groups.values()].flatMap((group): HostRoutes[] => {
    const [first] = group;
    if (first === undefined) return [];
    const routes = first[1];
    return [
      {
        hostnames: group.map(([name]) => name),
        routes: {
          choice: 'precedence',
          grpc: routes[0]?.kind === 'GRPCRoute',
          rules: routes.flatMap((route) => {
            const made = translate(route);
            return made.kind === 'http' ? made.rules : [];
          }),
        },
      },
    ];
  });
}

function byText([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}
