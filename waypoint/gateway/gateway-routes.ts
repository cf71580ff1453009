import type { ExplainStep } from '../../mesh/model/explain.ts';
import type {
  GatewayListener,
  GatewayListeners,
  HostRoutes,
} from '../../mesh/model/gateway-listener.ts';
import type { TcpRoute } from '../../mesh/model/http-route.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { RouteTable, type RouteMatch } from '../match.ts';
import { HostIndex } from './host-index.ts';

export type Transport = 'tcp' | 'udp';

/** A listener, made to be asked. */
export class ListenerRoutes {
  readonly listener: GatewayListener;
  readonly #tables: HostIndex<RouteTable>;
  readonly #connections: HostIndex<TcpRoute>;

  constructor(listener: GatewayListener) {
    this.listener = listener;
    const { serves } = listener;
    this.#tables = new HostIndex(serves.kind === 'http' ? tablesOf(serves.hosts) : []);
    this.#connections = new HostIndex(
      serves.kind === 'tcp' || serves.kind === 'passthrough'
        ? serves.hosts.flatMap(({ hostnames, route }) =>
            hostnames.map((name) => [name, route] as const),
          )
        : serves.kind === 'udp' && serves.route !== undefined
          ? [['', serves.route] as const]
          : [],
    );
  }

  /**
   * The rule for a request. The more exact host name of a route goes first, and only what no rule of it matches is asked of
   * the next.
   *
   * @throws {MeshError} ERR_REGEX_INPUT as RouteTable.find().
   */
  rule(hostname: string, headers: HeaderList): RouteMatch | undefined {
    return this.#tables.first(hostname, (table) => table.find(headers));
  }

  /** Why rule() answers as it does. @throws as rule(). */
  explain(hostname: string, headers: HeaderList): readonly ExplainStep[] {
    const steps: ExplainStep[] = [];
    this.#tables.first(hostname, (table) => {
      steps.push(...table.explain(headers));
      return table.find(headers);
    });
    return steps;
  }

  /** The route for a connection; without TLS, of no name: ''. */
  route(hostname: string): TcpRoute | undefined {
    return this.#connections.get(hostname);
  }
}

/** The listeners of one port. A request belongs to one of them, by its host name, and to no other. */
export class PortListeners {
  readonly port: number;
  readonly transport: Transport;
  readonly listeners: readonly GatewayListener[];
  readonly #index: HostIndex<ListenerRoutes>;

  constructor(port: number, transport: Transport, listeners: readonly GatewayListener[]) {
    this.port = port;
    this.transport = transport;
    this.listeners = listeners;
    this.#index = new HostIndex(
      listeners.map((listener) => [listener.hostname, new ListenerRoutes(listener)]),
    );
  }

  /** The listener for a host name, in lower case and without a port. */
  listenerOf(hostname: string): ListenerRoutes | undefined {
    return this.#index.get(hostname);
  }
}

/** All that a gateway listens for, by port. */
export class GatewayRoutes {
  readonly #ports = new Map<string, PortListeners>();

  /** @throws {MeshError} ERR_REGEX for rules that the codec should have refused. */
  constructor(listeners: GatewayListeners | undefined) {
    const byPort = Map.groupBy(listeners?.listeners ?? [], keyOf);
    for (const [key, list] of byPort) {
      const [first] = list;
      if (first === undefined) continue;
      this.#ports.set(key, new PortListeners(first.port, transportOf(first), list));
    }
  }

  ports(): Iterable<PortListeners> {
    return this.#ports.values();
  }

  port(port: number, transport: Transport): PortListeners | undefined {
    return this.#ports.get(portKey(port, transport));
  }
}

export function portKey(port: number, transport: Transport): string {
  return `${transport}/${port}`;
}

export function transportOf({ serves }: GatewayListener): Transport {
  return serves.kind === 'udp' ? 'udp' : 'tcp';
}

function keyOf(listener: GatewayListener): string {
  return portKey(listener.port, transportOf(listener));
}

/** One table for all names that have the same rules. */
function tablesOf(hosts: readonly HostRoutes[]): (readonly [string, RouteTable])[] {
  return hosts.flatMap(({ hostnames, routes }) => {
    const table = new RouteTable(routes);
    return hostnames.map((name) => [name, table] as const);
  });
}
