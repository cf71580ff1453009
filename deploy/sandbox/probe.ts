import { request } from 'node:http';
import { Socket } from 'node:net';
import type { IpAddress } from '../../base/address.ts';
import type { Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { PROBE_SOURCES } from './addresses.ts';
import { pause } from './backoff.ts';
import type { Probe } from './pod-spec.ts';

/** While a container is not ready yet, it is asked this often even where its probe says less. */
const EAGER_PERIOD_MS = 250;

export type ProbeTarget = Readonly<{
  ip: IpAddress;
  /** The node's: probes come from there, under the address that no rule captures. */
  nodeNetns: Netns;
  /** A named port of the container. */
  portOf: (name: string) => number | undefined;
  /** Runs a command in the container; its exit code. */
  exec: (command: readonly string[], timeoutMs: number) => Promise<number>;
}>;

/** Asks again and again until the signal is given, and tells when the answer changes. Never rejects. */
export async function watchReadiness(
  probe: Probe,
  target: ProbeTarget,
  tell: (ready: boolean, detail: string) => void,
  signal: AbortSignal,
): Promise<void> {
  await pause(probe.initialDelayMs, signal);
  let ready = false;
  let row = 0;
  for (;;) {
    const failure = await checkOnce(probe, target);
    if (signal.aborted) return;
    const success = failure === undefined;
    row = success === ready ? 0 : row + 1;
    if (row >= (success ? probe.successThreshold : probe.failureThreshold)) {
      ready = success;
      row = 0;
    }
    tell(ready, failure ?? '');
    await pause(ready ? probe.periodMs : Math.min(EAGER_PERIOD_MS, probe.periodMs), signal);
  }
}

/** Does what a probe or a hook says, once: why it failed, or undefined. Never rejects. */
export async function checkOnce(
  { action, timeoutMs }: Pick<Probe, 'action' | 'timeoutMs'>,
  target: ProbeTarget,
): Promise<string | undefined> {
  try {
    switch (action.kind) {
      case 'exec': {
        const code = await target.exec(action.command, timeoutMs);
        return code === 0 ? undefined : `readiness command: exit code ${code}`;
      }
      case 'tcp':
        (await connect(target, action.port, timeoutMs)).destroy();
        return undefined;
      case 'http':
        return await getOnce(target, action, timeoutMs);
    }
  } catch (error) {
    return `readiness probe: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function connect(
  target: ProbeTarget,
  port: number | string,
  timeoutMs: number,
): Promise<Socket> {
  const number = typeof port === 'number' ? port : target.portOf(port);
  if (number === undefined) throw new Error(`the container has no port named ${port}`);
  const [source] = PROBE_SOURCES;
  const stream = await connectTcp(
    { ip: target.ip, port: number },
    {
      netns: target.nodeNetns,
      timeoutMs,
      ...(source !== undefined && { source: { ip: source, port: 0 } }),
    },
  );
  const socket = new Socket({ fd: stream.detach() });
  socket.on('error', () => undefined); // each use has its own listener; none must end the process
  return socket;
}

async function getOnce(
  target: ProbeTarget,
  action: Extract<Probe['action'], { kind: 'http' }>,
  timeoutMs: number,
): Promise<string | undefined> {
  const socket = await connect(target, action.port, timeoutMs);
  const headers = new Map<string, string>([
    ['host', target.ip],
    ['user-agent', 'halo-probe'],
    ...action.headers.map(([name, value]): [string, string] => [name.toLowerCase(), value]),
  ]);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const asked = request({
    path: action.path,
    headers: Object.fromEntries(headers),
    createConnection: () => socket,
    signal: AbortSignal.timeout(timeoutMs),
  });
  asked.on('response', (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  });
  asked.on('error', reject);
  asked.end();
  try {
    const status = await promise;
    return status >= 200 && status < 400 ? undefined : `readiness probe: HTTP status ${status}`;
  } finally {
    socket.destroy();
  }
}
