import { EventEmitter, once } from 'node:events';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { MeshError } from '../../../base/errors.ts';
import { ListenerClient, serveListeners, type PodListener } from '../../../mesh/zds/listeners.ts';
import type { PodSocketName } from '../../../mesh/zds/pod-sockets.ts';
import { openNetns } from '../../../net/netns.ts';
import { bindListener, connectTcp } from '../../../net/tcp.ts';
import { TcpListener } from '../../../net/tcp-listener.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { openNamespace } from '../../deploy/support.ts';

/** What no agent keeps. */
const unknown = JSON.parse('"http"') as PodSocketName;

function socketPath(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-listeners-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return join(folder, 'listeners.sock');
}

function refuse(_uid: string, _socket: string, listener: PodListener): void {
  closeSync(listener.fd);
  throw new MeshError('ERR_LISTENER', 'local', 'Cannot keep it: there is no such pod');
}

test('a proxy gives its copy of a socket to an agent that was started anew', async (t) => {
  const netns = openNetns(await openNamespace(t));
  const path = socketPath(t);
  const adopted = new Map<string, PodListener>();
  const server = serveListeners({
    path,
    open: () => {
      throw new Error('not asked for');
    },
    adopt(uid, socket, listener) {
      if (uid === 'gone') refuse(uid, socket, listener);
      adopted.set(`${uid} ${socket}`, listener);
    },
    log: () => undefined,
  });
  t.teardown(() => {
    server.close();
    netns.close();
  });
  const own = bindListener({ address: { ip: parseIpAddress('::'), port: 15006 }, netns });
  const client = new ListenerClient(path);
  await client.offer('pod-uid', 'plaintext', { ...own, transparent: true });
  await t.throwsAsync(client.offer('gone', 'plaintext', own), { message: /there is no such pod/ });
  await t.throwsAsync(client.offer('pod-uid', unknown, own), { message: /http is none of/ });
  closeSync(own.fd); // the proxy ends
  client.close();

  const kept = adopted.get('pod-uid plaintext');
  t.is(adopted.size, 1);
  t.true(kept?.transparent);
  const to = { ip: parseIpAddress('127.0.0.1'), port: 15006 };
  const waiting = await connectTcp(to, { netns });
  waiting.reset();
  closeSync(kept?.fd ?? -1);
  await t.throwsAsync(connectTcp(to, { netns }), { message: /ECONNREFUSED/ });
});

test('a proxy finds an agent that was started anew by itself', async (t) => {
  const path = socketPath(t);
  const serve = (): ReturnType<typeof serveListeners> =>
    serveListeners({
      path,
      open: () => {
        throw new Error('it has none');
      },
      adopt: refuse,
      log: () => undefined,
    });
  const first = serve();
  let returns = 0;
  const returned = new EventEmitter();
  const client = new ListenerClient(path, () => {
    returns++;
    returned.emit('return');
  });
  t.teardown(() => {
    client.close();
  });
  await t.throwsAsync(client.request('pod-uid', 'outbound'), { message: /it has none/ });
  t.is(returns, 0);
  for (let round = 1, agent = first; round <= 2; round++) {
    const back = once(returned, 'return');
    agent.close();
    agent = serve();
    t.teardown(() => {
      agent.close();
    });
    await back;
    t.is(returns, round);
  }
});

test("a pod's listening socket outlives the proxy that accepts from it", async (t) => {
  const netns = openNetns(await openNamespace(t));
  const kept = bindListener({ address: { ip: parseIpAddress('::'), port: 15001 }, netns });
  const path = socketPath(t);
  const server = serveListeners({ path, open: () => kept, adopt: refuse, log: () => undefined });
  t.teardown(() => {
    server.close();
    closeSync(kept.fd);
    netns.close();
  });
  const clients: TcpStream[] = [];
  const connect = async (): Promise<void> => {
    const to = { ip: parseIpAddress('127.0.0.1'), port: 15001 };
    clients.push(await connectTcp(to, { netns }));
  };
  for (let proxy = 0; proxy < 2; proxy++) {
    // While no proxy runs, the client waits in the queue.
    await connect();
    const client = new ListenerClient(path);
    const listener = await client.request('pod-uid', 'outbound');
    t.not(listener.fd, kept.fd);
    const accepted = await new Promise<TcpStream>((resolve) => {
      const accepting = new TcpListener(listener, {}, (stream) => {
        accepting.close();
        resolve(stream);
      });
    });
    t.is(accepted.peer.ip, parseIpAddress('127.0.0.1'));
    accepted.reset();
    client.close();
  }
  for (const stream of clients) stream.reset();
});

test('the agent tells why it gives no listener', async (t) => {
  const path = socketPath(t);
  const open = (uid: string): PodListener => {
    throw new MeshError(
      'ERR_LISTENER',
      'local',
      `Cannot listen for pod ${uid}: it is not enrolled`,
    );
  };
  const server = serveListeners({ path, open, adopt: refuse, log: () => undefined });
  t.teardown(() => {
    server.close();
  });
  const client = new ListenerClient(path);
  t.teardown(() => {
    client.close();
  });
  await t.throwsAsync(client.request('nobody', 'hbone'), {
    message: /pod nobody: it is not enrolled/,
  });
  await t.throwsAsync(client.request('nobody', unknown), {
    message: /http is none of the sockets/,
  });
});

test('without such a channel the proxy hears it at once', async (t) => {
  const client = new ListenerClient(socketPath(t));
  await t.throwsAsync(client.request('uid', 'outbound'), { code: 'ERR_SYSTEM_ENOENT' });
});
