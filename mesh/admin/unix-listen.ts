import { once } from 'node:events';
import { chmodSync, lstatSync, mkdirSync, unlinkSync, type Stats } from 'node:fs';
import type { Server } from 'node:http';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { MeshError } from '../../base/errors.ts';

/**
 * Listens on a unix socket that only our own user can reach: mode 0600, in a folder that is made with 0700.
 * A socket that nobody serves any more is replaced; anything else at the path is left alone.
 *
 * @throws {MeshError} ERR_ADMIN_SOCKET for a folder of somebody else, a symbolic link or a file at the path, or a
 *   socket that is served.
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  checkFolder(path, lstatSync(folder));
  await removeStaleSocket(path);
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
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw socketError(path, 'something else is there');
  if (await isServed(path)) throw socketError(path, 'another process serves it');
  unlinkSync(path);
}

async function isServed(path: string): Promise<boolean> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code !== 'ECONNREFUSED' && code !== 'ENOENT';
  } finally {
    socket.destroy();
  }
}

function socketError(path: string, found: string): MeshError {
  const message = `Cannot listen on the unix socket ${path}: ${found}`;
  return new MeshError('ERR_ADMIN_SOCKET', 'local', message);
}
