import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  type Stats,
} from 'node:fs';
import type { Server } from 'node:http';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { errorCode, MeshError } from '../../base/errors.ts';

/**
 * Listens on a unix socket that only our own user can reach: mode 0600, in a folder that is made with 0700.
 * A socket that nobody serves any more is replaced; anything else at the path is left alone.
 *
 * @param takeOver replaces a served socket too, in one step, when it settles: a process that takes the place of another
 *   one, which keeps the path until then. Until then we answer at ownSocketPath(). Whoever is connected to the other one
 *   stays so; its own end leaves the path to us.
 * @throws {MeshError} ERR_ADMIN_SOCKET for a folder of somebody else, a symbolic link or a file at the path, or a
 *   socket that is served.
 */
export async function listenOnUnixSocket(
  server: Server,
  path: string,
  takeOver?: Promise<unknown>,
): Promise<void> {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  checkFolder(path, lstatSync(folder));
  if (takeOver === undefined) {
    await removeStaleSocket(path);
    await listen(server, path);
    return;
  }
  const served = findSocket(path) && (await isServed(path));
  // The end of a listener removes the name that it was made with, and that must never be one that another one has now.
  const ownName = ownSocketPath(path, process.pid);
  rmSync(ownName, { force: true });
  await listen(server, ownName);
  if (served)
    void takeOver.then(() => {
      takePath(server, ownName, path);
    });
  else takePath(server, ownName, path);
}

/** Where a process that is to take a socket over answers until it does. */
export function ownSocketPath(path: string, pid: number): string {
  return join(dirname(path), `.${pid}`);
}

function takePath(server: Server, ownName: string, path: string): void {
  if (!server.listening) return; // it has ended meanwhile
  const { ino } = lstatSync(ownName);
  renameSync(ownName, path);
  server.once('close', () => {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) unlinkSync(path);
  });
}

async function listen(server: Server, path: string): Promise<void> {
  const listening = once(server, 'listening');
  // The socket must never be there with a wider mode, not even until chmod.
  const umask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(umask);
  }
  await listening;
  chmodSync(path, 0o600);
}

function checkFolder(path: string, folder: Stats): void {
  const uid = process.getuid?.();
  if (!folder.isDirectory() || (folder.uid !== uid && folder.uid !== 0))
    throw socketError(path, 'its folder belongs to another user');
  // A folder that others may write to lets them put their own socket in place of ours.
  if ((folder.mode & 0o022) !== 0 && (folder.mode & 0o1000) === 0)
    throw socketError(path, 'its folder can be written to by other users');
}

async function removeStaleSocket(path: string): Promise<void> {
  if (!findSocket(path)) return;
  if (await isServed(path)) throw socketError(path, 'another process serves it');
  unlinkSync(path);
}

/** Whether a socket is there. @throws {MeshError} ERR_ADMIN_SOCKET when it is something else. */
function findSocket(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSocket()) throw socketError(path, 'something else is there');
  return found !== undefined;
}

async function isServed(path: string): Promise<boolean> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const code = errorCode(error);
    return code !== 'ECONNREFUSED' && code !== 'ENOENT';
  } finally {
    socket.destroy();
  }
}

function socketError(path: string, found: string): MeshError {
  const message = `Cannot listen on the unix socket ${path}: ${found}`;
  return new MeshError('ERR_ADMIN_SOCKET', 'local', message);
}
