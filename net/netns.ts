import { closeSync, fstatSync, openSync, readlinkSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { MeshError } from '../base/errors.ts';
import { systemError } from './native/errno.ts';
import { enterNetworkNamespace, isNetworkNamespace } from './native/libc.ts';

/** An open network namespace; it lives as long as someone holds it. */
export type Netns = Readonly<{
  fd: number;
  /** `device:inode`, equal for equal namespaces. */
  id: string;
  close(): void;
}>;

/**
 * Opens a namespace by a path such as `/run/netns/pod-a` or `/proc/42/ns/net`.
 *
 * @throws {MeshError} ERR_NETNS when it is something else; the system's error when it cannot be opened.
 */
export function openNetns(path: string): Netns {
  return adoptNetns(openSync(path, 'r'));
}

/**
 * Takes over a descriptor, which came from another process and may be anything; closes it when it is no namespace.
 *
 * @throws {MeshError} ERR_NETNS
 */
export function adoptNetns(fd: number): Netns {
  if (!isNetworkNamespace(fd)) {
    closeSync(fd);
    throw new MeshError(
      'ERR_NETNS',
      'local',
      'Cannot use the descriptor as a network namespace: it is something else',
    );
  }
  const { dev, ino } = fstatSync(fd, { bigint: true });
  let open = true;
  return {
    get fd() {
      // The number may be another pod's namespace by now.
      if (!open) throw new Error('Cannot use a network namespace that was closed');
      return fd;
    },
    id: `${dev}:${ino}`,
    close() {
      if (!open) return;
      open = false;
      closeSync(fd);
    },
  };
}

/** The namespace that the calling thread is in. */
export function ownNetnsId(): string {
  const { dev, ino } = statSync('/proc/thread-self/ns/net', { bigint: true });
  return `${dev}:${ino}`;
}

let home: number | undefined;

/**
 * libuv's pool of threads starts with its first work, and threads inherit the namespace they are started in: without
 * this, one early call inside a pod would move all file and DNS work of the process there. Await it before inNetns().
 */
export async function prepareNetns(): Promise<void> {
  await stat('/proc/thread-self');
  homeNamespace();
}

function homeNamespace(): number {
  // Never opened from inside another namespace: inNetns() asks for it before it enters.
  home ??= openSync(readlinkSync('/proc/thread-self').replace(/^/, '/proc/') + '/ns/net', 'r');
  return home;
}

/**
 * Runs `action` with this thread inside the namespace: sockets made there stay there, children started there live
 * there. Strictly synchronous; an `await` inside would let other work run in the wrong namespace.
 */
export function inNetns<T>(netns: Netns | undefined, action: () => T): T {
  if (netns === undefined) return action();
  const back = homeNamespace();
  const entered = enterNetworkNamespace(netns.fd);
  if (entered < 0) throw systemError(-entered, `enter network namespace ${netns.id}`);
  try {
    return action();
  } finally {
    // A thread left in a pod's namespace is a breach: better no process than that.
    if (enterNetworkNamespace(back) < 0) process.abort();
  }
}
