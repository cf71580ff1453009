import { Socket } from 'node:net';
import { parseIpAddress, type IpAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { SLICE_SERVICE_NAME } from '../../mesh/kubernetes/labels.ts';
import { openNetns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { BYTES_PROTOCOL, type KubernetesObject } from './api.ts';
import type { Cluster } from './cluster.ts';
import { isRecord } from './documents.ts';
import { switchingProtocols } from './control-http.ts';
import { podIps } from './pod-status.ts';
import { servicePorts } from './services.ts';

const CONNECT_TIMEOUT_MS = 5000;

/**
 * Connects to a pod's port from inside the pod, as kubelet does for port-forward, and carries the bytes.
 *
 * @throws {MeshError} before the upgrade, when there is no such pod or nothing listens.
 */
export async function serveConnect(
  cluster: Cluster,
  query: URLSearchParams,
  socket: Socket,
  head: Buffer,
): Promise<void> {
  const { namespace, name, port } = connectTarget(cluster, query);
  const runner = cluster.pods.runner(namespace, name);
  if (runner === undefined)
    throw streamError('ERR_CONNECT', `Cannot connect to pod ${namespace}/${name}: it does not run`);
  const netns = openNetns(runner.netns);
  try {
    const upstream = await connectInside(
      [parseIpAddress('127.0.0.1'), parseIpAddress('::1'), ...runner.state.ips],
      port,
      netns,
    );
    socket.write(switchingProtocols(BYTES_PROTOCOL));
    if (head.length > 0) upstream.write(head);
    joinSockets(socket, upstream);
  } finally {
    netns.close();
  }
}

async function connectInside(
  ips: readonly IpAddress[],
  port: number,
  netns: ReturnType<typeof openNetns>,
): Promise<Socket> {
  let failure: unknown;
  for (const ip of ips)
    try {
      const stream = await connectTcp({ ip, port }, { netns, timeoutMs: CONNECT_TIMEOUT_MS });
      return new Socket({
        fd: stream.detach(),
        allowHalfOpen: true,
        readable: true,
        writable: true,
      });
    } catch (error) {
      failure = error;
    }
  throw failure instanceof Error ? failure : new Error('no address');
}

function connectTarget(
  cluster: Cluster,
  query: URLSearchParams,
): Readonly<{ namespace: string; name: string; port: number }> {
  const namespace = query.get('namespace') ?? 'default';
  const port = Number(query.get('port'));
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw streamError('ERR_CONNECT', `Cannot connect to port ${query.get('port') ?? 'none'}`);
  const service = query.get('service');
  if (service === null) {
    const name = query.get('pod') ?? '';
    cluster.store.mustGet({ kind: 'Pod', namespace, name });
    return { namespace, name, port };
  }
  const object = cluster.store.mustGet({ kind: 'Service', namespace, name: service });
  return { namespace, ...readyEndpoint(cluster, object, port) };
}

/** A ready pod behind the service, and its own port. */
function readyEndpoint(
  cluster: Cluster,
  service: KubernetesObject,
  port: number,
): Readonly<{ name: string; port: number }> {
  const { namespace = '', name } = service.metadata;
  const servicePort = servicePorts(service).find((known) => known.port === port);
  if (servicePort === undefined)
    throw streamError(
      'ERR_CONNECT',
      `Cannot connect to Service ${namespace}/${name}: it has no port ${port}`,
    );
  const slices = cluster.store
    .list('EndpointSlice', namespace)
    .filter((slice) => slice.metadata.labels?.[SLICE_SERVICE_NAME] === name);
  for (const slice of slices) {
    const ports: readonly unknown[] = Array.isArray(slice['ports']) ? slice['ports'] : [];
    const target = ports
      .filter(isRecord)
      .find((entry) => (entry['name'] ?? '') === servicePort.name);
    const endpoints: readonly unknown[] = Array.isArray(slice['endpoints'])
      ? slice['endpoints']
      : [];
    const ready = endpoints
      .filter(isRecord)
      .filter(({ conditions }) => isRecord(conditions) && conditions['ready'] !== false)
      .map(({ targetRef }) => (isRecord(targetRef) ? targetRef['name'] : undefined))
      .filter((pod) => typeof pod === 'string')
      .filter((pod) => {
        const found = cluster.store.get('Pod', namespace, pod);
        return found !== undefined && podIps(found).length > 0;
      });
    const pod = ready[Math.floor(Math.random() * ready.length)];
    const number = target?.['port'];
    if (pod !== undefined && typeof number === 'number') return { name: pod, port: number };
  }
  throw streamError(
    'ERR_CONNECT',
    `Cannot connect to Service ${namespace}/${name}: no pod of it is ready`,
  );
}

/** Bytes both ways; each end's end is handed on, a failure of one ends both. */
function joinSockets(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on('error', () => {
      to.destroy();
    });
    from.on('close', (failed) => {
      if (failed) to.destroy();
    });
    from.pipe(to);
  }
}

function streamError(code: string, message: string): MeshError {
  return new MeshError(code, 'local', message);
}
