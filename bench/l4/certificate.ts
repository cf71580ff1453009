import { join } from 'node:path';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { MORE_CLIENTS } from './mesh-objects.ts';
import { CLIENT_IDENTITY, SERVER_IDENTITY } from './places.ts';
import type { Rig } from './rig.ts';

/** Where istiod-lite is on the sandbox's network. */
const CONTROL_PLANE = 'https://172.18.0.2:15012';

/** A genuine certificate of the client in the mesh, for a load client that speaks HBONE itself. */
export function clientCertificate(
  rig: Rig,
  identity = CLIENT_IDENTITY,
): Promise<WorkloadCertificate> {
  const { parts, rootCertificate } = rig.sandbox.paths;
  return rig.client('outside').ask('certificate', {
    ...{ address: CONTROL_PLANE, roots: rootCertificate, identity },
    token: join(parts, 'ztunnel-node-1', 'token'),
  });
}

/** A certificate of each client in the mesh. */
export async function allClientCertificates(rig: Rig): Promise<WorkloadCertificate[]> {
  const certificates = [await clientCertificate(rig)];
  for (const account of MORE_CLIENTS)
    certificates.push(await clientCertificate(rig, CLIENT_IDENTITY.replace(/client$/, account)));
  return certificates;
}

/** How such a client reaches the proxy of the server's node. */
export function serverProxy(
  rig: Rig,
): Readonly<{ host: string; port: number; peers: readonly string[] }> {
  return { host: rig.ip('mesh-server'), port: HBONE_PORT, peers: [SERVER_IDENTITY] };
}
