import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { openTunnel, type Tunnel } from '../../mesh/hbone/client.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { Relay } from '../../net/relay.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { EntryTask } from './entry.ts';

/* entry-program.ts TASK: what a client's node proxy does, and no more: each connection goes through a tunnel to a waypoint. */

const task = JSON.parse(process.argv[2] ?? '{}') as EntryTask;
const { chainPem, privateKeyPem, rootsPem } = task.certificate;
const context = new TlsContext({ chainPem, privateKeyPem, rootsPem });
const sessions: HboneSession[] = [];
let opening: Promise<HboneSession> | undefined;

/** On a session that has room, without a wait in which another takes it; sessions are opened one after another. */
async function openAnyTunnel(authority: string): Promise<Tunnel> {
  for (;;) {
    const free = sessions.find((session) => session.availableTunnels() > 0);
    if (free !== undefined) return await openTunnel(free, { authority, headers: [] });
    opening ??= openSession();
    await opening;
  }
}

async function openSession(): Promise<HboneSession> {
  try {
    const session = await HboneSession.open(
      socketAddress(task.to.host, task.to.port),
      {},
      {
        context: () => Promise.resolve(context),
        ...{ peers: task.peers.map(parseSpiffeId), http2: {} },
      },
    );
    sessions.push(session);
    return session;
  } finally {
    opening = undefined;
  }
}

async function serve(downstream: TcpStream, authority: string): Promise<void> {
  try {
    const { stream } = await openAnyTunnel(authority);
    new Relay(downstream, stream, () => undefined);
  } catch (error) {
    console.error(error);
    downstream.reset();
  }
}

for (const { listenPort, authority } of task.ways)
  listenTcp(
    { address: { ip: parseIpAddress('127.0.0.1'), port: listenPort }, backlog: 4096 },
    (stream) => void serve(stream, authority),
  );
process.on('SIGTERM', () => process.exit(0));
