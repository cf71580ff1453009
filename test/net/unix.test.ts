import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { connectSeqpacket, listenSeqpacket, type SeqpacketSocket } from '../../net/unix.ts';

function folder(t: { teardown: (fn: () => void) => void }): string {
  const path = mkdtempSync(join(tmpdir(), 'halo-unix-'));
  t.teardown(() => {
    rmSync(path, { recursive: true });
  });
  return path;
}

type Heard = { text: string; descriptors: readonly number[] };

function hear(socket: SeqpacketSocket): {
  next: () => Promise<Heard>;
  closed: Promise<Error | undefined>;
} {
  const heard: Heard[] = [];
  const waiting: ((heard: Heard) => void)[] = [];
  let close: (error: Error | undefined) => void;
  const closed = new Promise<Error | undefined>((resolve) => (close = resolve));
  socket.setHandler({
    onMessage(bytes, descriptors) {
      const message = { text: bytes.toString(), descriptors };
      const waiter = waiting.shift();
      if (waiter) waiter(message);
      else heard.push(message);
    },
    onClose(error) {
      close(error);
    },
  });
  const next = (): Promise<Heard> => {
    const first = heard.shift();
    return first ? Promise.resolve(first) : new Promise((resolve) => waiting.push(resolve));
  };
  return { next, closed };
}

async function connected(path: string): Promise<{
  client: SeqpacketSocket;
  server: SeqpacketSocket;
  close: () => void;
}> {
  const accepted: SeqpacketSocket[] = [];
  let arrived: () => void;
  const arrival = new Promise<void>((resolve) => (arrived = resolve));
  const listener = listenSeqpacket({
    path,
    onConnection(socket) {
      accepted.push(socket);
      arrived();
    },
  });
  const client = connectSeqpacket(path);
  await arrival;
  const [server] = accepted;
  if (server === undefined) throw new Error('nobody came');
  const close = (): void => {
    client.close();
    server.close();
    listener.close();
  };
  return { client, server, close };
}

test('messages keep their boundaries and their order', async (t) => {
  const { client, server, close } = await connected(join(folder(t), 'a.sock'));
  const { next } = hear(server);
  client.send(Buffer.from('one'));
  client.send(Buffer.from('two'));
  t.is((await next()).text, 'one');
  t.is((await next()).text, 'two');
  close();
});

test('a descriptor that is passed is the same thing on the other side', async (t) => {
  const path = folder(t);
  const { client, server, close } = await connected(join(path, 'a.sock'));
  const { next } = hear(server);
  const file = join(path, 'file');
  writeFileSync(file, '');
  const fd = openSync(file, 'r');
  client.send(Buffer.from('take'), fd);
  closeSync(fd);
  const { descriptors } = await next();
  t.is(descriptors.length, 1);
  const [received = -1] = descriptors;
  t.is(fstatSync(received).ino, statSync(file).ino);
  closeSync(received);
  close();
});

test('the peer is known by its process and user (C8)', async (t) => {
  const { server, close } = await connected(join(folder(t), 'a.sock'));
  t.deepEqual(server.peerCredentials, {
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    gid: process.getgid?.() ?? -1,
  });
  close();
});

test('the end of one side is told to the other', async (t) => {
  const { client, server, close } = await connected(join(folder(t), 'a.sock'));
  const { closed } = hear(server);
  client.close();
  t.is(await closed, undefined);
  t.throws(
    () => {
      server.send(Buffer.from('late'));
    },
    { message: /EPIPE/ },
  );
  close();
});

test('listenSeqpacket() replaces a socket left behind, and refuses a file or a link at its path (C8)', async (t) => {
  const path = folder(t);
  const { close } = await connected(join(path, 'a.sock'));
  const again = await connected(join(path, 'a.sock'));
  again.close();
  close();
  writeFileSync(join(path, 'file'), 'precious');
  symlinkSync(join(path, 'file'), join(path, 'link'));
  for (const name of ['file', 'link'])
    t.throws(() => listenSeqpacket({ path: join(path, name), onConnection: () => undefined }), {
      code: 'ERR_SOCKET_PATH',
    });
});

test('a path that is too long is refused with the limit', (t) => {
  t.throws(() => connectSeqpacket(`/tmp/${'x'.repeat(120)}`), { message: /1 to 107 bytes/ });
});
