import type { IpAddress } from '../base/address.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { ConnectParts } from '../mesh/proxy/connect.ts';
import type { HboneListenerParts } from '../mesh/proxy/hbone-listener.ts';
import type { LiveParts } from '../mesh/proxy/live-connection.ts';
import type { ProxyState, PodName } from '../mesh/proxy/state/store.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import type { KeepAlive } from '../net/socket-options.ts';
import type { GatewayRoutes } from './gateway/gateway-routes.ts';
import type { ServerTls } from './gateway/server-tls.ts';
import type { HttpParts } from './http.ts';
import type { Security } from './security.ts';
import type { StateWaiters } from '../mesh/proxy/state/waiters.ts';
import type { UpstreamTlsClient } from './upstream/tls.ts';

/** What the connections of a data thread share. */
export type WaypointParts = ConnectParts &
  HboneListenerParts &
  LiveParts &
  Readonly<{
    state: ProxyState;
    waiters: StateWaiters;
    /** The network of this cluster. */
    network: string;
    /** This waypoint as the control plane knows it. */
    self: PodName & Readonly<{ identity: SpiffeId }>;
    /** Aborts when this thread ends. */
    gone: AbortSignal;
    /** Of connections that are no HBONE sessions; absent where it is turned off. */
    keepAlive: KeepAlive | undefined;
    /** What serves requests. */
    http: HttpParts;
    /** What it listens for as a gateway, as it is now; a waypoint listens for nothing so. */
    readonly gateway: GatewayRoutes;
    /** Routes and traffic policies of its services. */
    store: WaypointStore;
    security: Security;
    /** TLS with clients of a gateway. */
    serverTls: ServerTls;
    /** TLS with applications. */
    upstreamTls: UpstreamTlsClient;
    resolveHostname: (hostname: string) => Promise<readonly IpAddress[]>;
  }>;
