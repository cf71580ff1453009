import { join } from 'node:path';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { CLIENT_IDENTITY, SERVER_IDENTITY } from './places.ts';
import type { Rig } from './rig.ts';

/** Where istiod-lite is on the sandbox's network. */
const CONTROL_PLANE = 'https://172.18.0.2:15012';

/** A genuine certificate of the client in the mesh, for a load client that speaks HBONE itself. */
export function clientCertificate(rig: Rig): Promise<WorkloadCertificate> {
  const { parts, rootCertificate } = rig.sandbox.paths;
  return rig.client('outside').ask('certificate', {
    ...{ address: CONTROL_PLANE, roots: rootCertificate, identity: CLIENT_IDENTITY },
    token: join(parts, 'ztunnel-node-1', 'token'),
  });
}

/** How such a client reaches the proxy of the server's node. */
export function serverProxy(
  rig: Rig,
): Readonly<{ host: string; port: number; peers: readonly string[] }> {
  return { host: rig.ip('mesh-server'), port: HBONE_PORT, peers: [SERVER_IDENTITY] };
}
