import { join } from 'node:path';
import { programCommand } from '../../mesh/runtime/program-command.ts';
import {
  CLUSTER_DNS_VIP,
  CONTROL_PLANE,
  controlPlaneAddresses,
  type NodeAddresses,
} from './addresses.ts';
import {
  partAdminSocket,
  type KubernetesObject,
  type PartKind,
  type SandboxPaths,
  type SandboxSettings,
} from './api.ts';
import { compileCache } from './compile-cache.ts';
import { baseEnvironment, enterPlace, type ContainerPlace } from './container.ts';
import { makeFolder, writeFileAtomic } from './files.ts';
import { netnsPath } from './networks.ts';
import type { PartSpec } from './parts.ts';
import { PART_ANNOTATION } from './pods.ts';
import { TOKEN_ISSUER, type TokenSigner } from './tokens.ts';
import { timestamp, type ObjectStore } from './store.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAMS: Readonly<Record<Exclude<PartKind, 'waypoint'>, string>> = {
  'istiod-lite': join(ROOT, 'istiod-lite', 'main.ts'),
  'node-agent': join(ROOT, 'deploy', 'node-agent', 'main.ts'),
  ztunnel: join(ROOT, 'ztunnel', 'main.ts'),
  'cluster-dns': join(import.meta.dirname, 'cluster-dns.ts'),
};

/** An hour, where upstream has 5 s: design, a drain of an old ztunnel. */
const DRAIN_DEADLINE = '1h';

export type PartListParts = Readonly<{
  settings: SandboxSettings;
  paths: SandboxPaths;
  nodes: readonly NodeAddresses[];
  ipv6: boolean;
  store: ObjectStore;
  tokens: TokenSigner;
}>;

/** The sockets of a node, in a folder of mode 0700. */
export function nodeSockets(
  paths: SandboxPaths,
  node: string,
): Readonly<{ zds: string; listeners: string; pluginEvents: string }> {
  const folder = join(paths.nodes, node);
  return {
    zds: join(folder, 'ztunnel.sock'),
    listeners: join(folder, 'listeners.sock'),
    pluginEvents: join(folder, 'pluginevent.sock'),
  };
}

/** Every part of this sandbox: cluster DNS always, the mesh where it is asked for. */
export async function listParts(parts: PartListParts): Promise<PartSpec[]> {
  const { mesh, onlyParts } = parts.settings;
  const wanted = (kind: PartKind): boolean => onlyParts === undefined || onlyParts.includes(kind);
  const list = [clusterDns(parts)];
  if (!mesh) return list;
  if (wanted('istiod-lite')) list.push(istiodLite(parts));
  for (const node of parts.nodes) {
    if (wanted('node-agent')) list.push(nodeAgent(parts, node));
    if (wanted('ztunnel')) list.push(await ztunnel(parts, node));
  }
  return list;
}

function clusterDns(parts: PartListParts): PartSpec {
  return partSpec(parts, 'cluster-dns', 'cluster-dns', CONTROL_PLANE, {
    HALO_CONTROL_UDS: parts.paths.controlSocket,
  });
}

function istiodLite(parts: PartListParts): PartSpec {
  const { paths } = parts;
  for (const folder of [paths.statusObjects, paths.generatedObjects, paths.ca]) makeFolder(folder);
  return partSpec(parts, 'istiod-lite', 'istiod-lite', CONTROL_PLANE, {
    CONFIG_DIRS: `${paths.userObjects}:${paths.coreObjects}`,
    CONFIG_QUIET_TIME: '0s', // see writeFileAtomic()
    CA_DIR: paths.ca,
    TOKEN_JWKS: paths.jwks,
    TOKEN_ISSUER,
    TOKEN_AUDIENCES: 'istio-ca',
    STATUS_DIR: paths.statusObjects,
    GENERATED_DIR: paths.generatedObjects,
    ROOT_CERT_FILE: paths.rootCertificate,
  });
}

function nodeAgent(parts: PartListParts, node: NodeAddresses): PartSpec {
  const sockets = nodeSockets(parts.paths, node.name);
  makeFolder(join(sockets.zds, '..'));
  return {
    ...partSpec(
      parts,
      `node-agent-${node.name}`,
      'node-agent',
      node.name,
      {
        NODE_NAME: node.name,
        HALO_CONTROL_UDS: parts.paths.controlSocket,
        ZDS_UDS: sockets.zds,
        HALO_LISTENERS_UDS: sockets.listeners,
        PLUGIN_EVENT_UDS: sockets.pluginEvents,
        AMBIENT_DNS_CAPTURE: String(parts.settings.dnsCapture),
        AMBIENT_IPV6: String(parts.ipv6),
      },
      node.name,
    ),
    readyPath: '/readyz',
  };
}

async function ztunnel(parts: PartListParts, node: NodeAddresses): Promise<PartSpec> {
  const { paths, store, tokens } = parts;
  const name = `ztunnel-${node.name}`;
  const pod = store.put(partPod(name, node, 'ztunnel'));
  const sockets = nodeSockets(paths, node.name);
  const { uid = '' } = pod.metadata;
  const token = await tokens.keepFile(join(paths.parts, name), {
    ...{
      namespace: 'istio-system',
      serviceAccount: 'ztunnel',
      pod: { name, uid },
      node: node.name,
    },
  });
  return {
    ...partSpec(
      parts,
      name,
      'ztunnel',
      node.name,
      {
        XDS_ADDRESS: 'https://istiod.istio-system.svc:15012',
        CA_ADDRESS: 'https://istiod.istio-system.svc:15012',
        XDS_ROOT_CA: paths.rootCertificate,
        CA_ROOT_CA: paths.rootCertificate,
        AUTH_TOKEN: token,
        INPOD_UDS: sockets.zds,
        HALO_LISTENERS_UDS: sockets.listeners,
        NODE_NAME: node.name,
        POD_NAME: name,
        POD_NAMESPACE: 'istio-system',
        SERVICE_ACCOUNT: 'ztunnel',
        INSTANCE_IP: node.ips[0] ?? '',
        IPV6_ENABLED: String(parts.ipv6),
        ISTIO_META_DNS_CAPTURE: 'true',
        CONNECTION_TERMINATION_DEADLINE: DRAIN_DEADLINE,
      },
      node.name,
    ),
    readyPath: '/healthz/ready',
  };
}

/** The object under which the control plane and its CA know one of our own processes. */
function partPod(name: string, node: NodeAddresses, app: string): KubernetesObject {
  const condition = { type: 'Ready', status: 'True' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...{ name, namespace: 'istio-system', labels: { app } },
      annotations: { [PART_ANNOTATION]: name },
    },
    spec: {
      ...{ nodeName: node.name, serviceAccountName: app, hostNetwork: true },
      containers: [{ name: app, image: `halo/${app}` }],
    },
    status: {
      ...{ phase: 'Running', conditions: [condition], startTime: timestamp() },
      containerStatuses: [{ name: app, ready: true, restartCount: 0 }],
      hostIP: node.ips[0],
      podIP: node.ips[0],
      podIPs: node.ips.map((ip) => ({ ip })),
    },
  };
}

function partSpec(
  parts: PartListParts,
  name: string,
  kind: Exclude<PartKind, 'waypoint'>,
  netns: string,
  environment: Readonly<Record<string, string>>,
  node?: string,
): PartSpec {
  const { paths, settings } = parts;
  const adminSocket = partAdminSocket(paths, name);
  const program = programCommand(PROGRAMS[kind]);
  const all = baseEnvironment({
    NODE_COMPILE_CACHE: compileCache(paths.root),
    ADMIN_UDS: adminSocket,
    LOG_FORMAT: 'json',
    ...environment,
    ...settings.partEnvironment[kind],
    ...settings.partEnvironment[name],
  });
  return {
    ...{ name, kind, adminSocket, readyPath: '/ready' },
    ...(node !== undefined && { node }),
    command: enterPlace(partPlace(parts, name, netns), '/', program),
    environment: new Map(Object.entries(all)),
    logFile: join(paths.logs, `${name}.log`),
  };
}

/** Its own resolver and hosts files, which name the control plane even while cluster DNS is away. */
function partPlace(parts: PartListParts, name: string, netns: string): ContainerPlace {
  const folder = join(parts.paths.parts, name);
  makeFolder(folder);
  const [resolvConf, hosts] = [join(folder, 'resolv.conf'), join(folder, 'hosts')];
  const search = 'istio-system.svc.cluster.local svc.cluster.local cluster.local';
  writeFileAtomic(resolvConf, `nameserver ${CLUSTER_DNS_VIP}\nsearch ${search}\n`, 0o644);
  const istiod = controlPlaneAddresses(parts.ipv6).map(
    (ip) => `${ip} istiod.istio-system.svc istiod.istio-system.svc.cluster.local`,
  );
  writeFileAtomic(hosts, ['127.0.0.1 localhost', '::1 localhost', ...istiod, ''].join('\n'), 0o644);
  return { netns: netnsPath(netns), hostname: netns, resolvConf, hosts };
}
