import { closeSync } from 'node:fs';
import type { PodListener } from '../../mesh/zds/listeners.ts';
import type { PodSocketName } from '../../mesh/zds/pod-sockets.ts';

/**
 * What a running proxy gives back to an agent that was started anew and has not found its pods yet: from here on the
 * sockets outlive the proxy, whatever the agent waits for.
 */
export class ReturnedSockets {
  readonly #byPod = new Map<string, Map<PodSocketName, PodListener>>();
  #closed = false;

  /** Whether it is kept; then the descriptor is ours. Not after close(). */
  keep(uid: string, name: PodSocketName, listener: PodListener): boolean {
    if (this.#closed) return false;
    const sockets = this.take(uid);
    const before = sockets.get(name);
    if (before !== undefined) closeSync(before.fd);
    this.#byPod.set(uid, sockets.set(name, listener));
    return true;
  }

  /** The sockets of a pod, the caller's from here on. */
  take(uid: string): Map<PodSocketName, PodListener> {
    const sockets = this.#byPod.get(uid) ?? new Map<PodSocketName, PodListener>();
    this.#byPod.delete(uid);
    return sockets;
  }

  /** Every pod has been looked at: what nobody has taken belongs to none. */
  close(): void {
    this.#closed = true;
    for (const sockets of this.#byPod.values())
      for (const { fd } of sockets.values()) closeSync(fd);
    this.#byPod.clear();
  }
}
