import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { TemporaryFolder } from './temporary-folder.ts';

const SEARCHED = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A program that serves, with a configuration file of its own, until the test ends; returns its folder. */
export async function startPeer(
  t: ExecutionContext,
  port: number,
  configuration: (folder: string) => string,
  command: (file: string, folder: string) => readonly string[],
): Promise<string> {
  const folder = new TemporaryFolder();
  const file = join(folder.path, 'peer.conf');
  writeFileSync(file, configuration(folder.path));
  const [program = '', ...args] = command(file, folder.path);
  const child = spawn(program, args, { stdio: 'ignore', env: { PATH: SEARCHED } });
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await ended;
    folder[Symbol.dispose]();
  });
  for (let tries = 0; ; tries++) {
    const socket = net.connect({ port, host: '127.0.0.1' });
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (connected) return folder.path;
    if (tries === 200) throw new Error(`Cannot start ${program}`);
    await wait(25);
  }
}
