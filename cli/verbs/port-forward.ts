import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { resetSocket } from '../../base/reset-socket.ts';
import { tryParseIpAddress } from '../../base/address.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import { BYTES_PROTOCOL } from '../../deploy/sandbox/api.ts';
import { defineVerb, EXIT, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { namespaceOf } from '../object-fields.ts';
import { DEFAULT_NAMESPACE, findPod } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { printable, type Terminal } from '../terminal.ts';

type Target = Readonly<{ namespace: string; pod?: string; service?: string; port: number }>;

export const portForward = defineVerb({
  name: 'port-forward',
  group: 'Pods',
  summary: 'Bring a port of a Service or pod to this host',
  details: `Until interrupted. Connections end up inside the pod itself, so they are not part of the mesh.

Examples:
  halo port-forward svc/web 8080:80 -n shop     http://127.0.0.1:8080 is the Service's port 80
  halo port-forward web-1 8080`,
  arguments: [
    {
      name: 'TARGET',
      summary: 'svc/NAME, or a pod: NAME, NAMESPACE/NAME, deploy/NAME',
      complete: 'targets',
    },
    { name: 'PORTS', summary: '[LOCAL:]REMOTE; LOCAL 0 takes a free one', rest: true },
  ],
  options: {
    address: {
      type: 'text',
      placeholder: 'IP',
      summary: 'the address of this host to listen on',
      default: '127.0.0.1',
    },
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [target = '', ...pairs], terminal }) {
    const address = tryParseIpAddress(options.address);
    if (address === undefined)
      throw usageError(`Option --address is an IP address: found ${options.address}`);
    const sandbox = new Sandbox(sandboxName(options.name));
    const servers: Server[] = [];
    try {
      for (const pair of pairs) {
        const { local, remote } = parsePorts(pair);
        const to = await findTarget(sandbox, target, remote, options.namespace);
        const server = await listen(sandbox, to, address, local, terminal);
        servers.push(server);
        const bound = server.address();
        const port = typeof bound === 'object' && bound !== null ? bound.port : local;
        const host = address.includes(':') ? `[${address}]` : address;
        terminal.out(`Forwarding ${host}:${port} -> ${printable(target)}:${remote}\n`);
      }
      if (!terminal.signal.aborted) await once(terminal.signal, 'abort');
    } finally {
      for (const server of servers) server.close();
    }
    return EXIT.ok;
  },
});

function parsePorts(text: string): { local: number; remote: number } {
  const [, local, remote] = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(text) ?? [];
  const ports = { local: Number(local ?? remote), remote: Number(remote) };
  if (remote !== undefined && ports.local <= 65535 && ports.remote >= 1 && ports.remote <= 65535)
    return ports;
  throw usageError(`Cannot read ports ${text}: use REMOTE or LOCAL:REMOTE`);
}

async function findTarget(
  sandbox: Sandbox,
  target: string,
  port: number,
  namespace: string | undefined,
): Promise<Target> {
  const [, service] = /^(?:svc|service|services)\/(.+)$/.exec(target) ?? [];
  if (service !== undefined) return { namespace: namespace ?? DEFAULT_NAMESPACE, service, port };
  const pod = await findPod(sandbox, target, namespace);
  return { namespace: namespaceOf(pod), pod: pod.metadata.name, port };
}

async function listen(
  sandbox: Sandbox,
  target: Target,
  host: string,
  port: number,
  terminal: Terminal,
): Promise<Server> {
  // Half-open: a client that has sent all still gets its answer.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    client.on('error', () => undefined);
    forward(sandbox, target, client, terminal.signal).catch((error: unknown) => {
      resetSocket(client);
      if (!terminal.signal.aborted) terminal.note(`${printable(describeError(error))}\n`);
    });
  });
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new MeshError('ERR_LISTEN', 'local', `Cannot listen on ${host} port ${port}`, {
      cause: error,
    });
  }
  return server;
}

async function forward(
  sandbox: Sandbox,
  target: Target,
  client: Socket,
  signal: AbortSignal,
): Promise<void> {
  const inside = await sandbox.upgrade('/v1/connect', target, BYTES_PROTOCOL, signal);
  const end = (): void => {
    resetSocket(client);
    inside.destroy();
  };
  // A broken side must look broken on the other one, not ended.
  inside.on('error', end);
  client.on('error', end);
  client.on('close', () => {
    if (!inside.writableEnded) inside.destroy();
  });
  client.pipe(inside);
  inside.pipe(client);
}
