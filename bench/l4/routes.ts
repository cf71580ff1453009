import type { LoadClient } from '../load/load-client.ts';
import type { Context } from './context.ts';
import type { Place } from './places.ts';

/**
 * `direct`: from pod to pod; `passthrough`: through the client's ztunnel alone, to a server that is not in the mesh;
 * `halo`: through both ztunnels; the others: through their pair.
 */
export type RouteName = 'direct' | 'passthrough' | 'halo' | 'nginx' | 'haproxy';

/** A way from a client to the load server. */
export type Route = Readonly<{
  name: RouteName;
  place: Place;
  server: Extract<Place, 'mesh-server' | 'plain-server'>;
  /** What the client dials for a port of the load server. */
  to(port: number): Readonly<{ host: string; port: number }>;
  client(): LoadClient;
  /** The processes of all proxies on the way. */
  pids(): Promise<readonly number[]>;
}>;

/** The routes of these names that exist in this run. */
export function routesOf(context: Context, names: readonly RouteName[]): Route[] {
  return names.flatMap((name) => makeRoute(context, name) ?? []);
}

function makeRoute({ rig, peers }: Context, name: RouteName): Route | undefined {
  switch (name) {
    case 'direct':
    case 'passthrough': {
      const place = name === 'direct' ? 'plain-client' : 'mesh-client';
      return {
        ...{ name, place, server: 'plain-server' },
        to: (port) => ({ host: rig.ip('plain-server'), port }),
        client: () => rig.client(place),
        pids: async () => (name === 'direct' ? [] : [await rig.ztunnelPid('node-1')]),
      };
    }
    case 'halo':
      return {
        ...{ name, place: 'mesh-client', server: 'mesh-server' },
        to: (port) => ({ host: rig.vip, port }),
        client: () => rig.client('mesh-client'),
        pids: () => rig.ztunnelPids(),
      };
    case 'nginx':
    case 'haproxy': {
      const pair = peers.find((peer) => peer.name === name);
      if (pair === undefined) return undefined;
      return {
        ...{ name, place: 'plain-client', server: 'plain-server' },
        to: (port) => ({ host: '127.0.0.1', port: port + pair.offsets.client }),
        client: () => rig.client('plain-client'),
        pids: () => Promise.resolve(pair.pids()),
      };
    }
  }
}
