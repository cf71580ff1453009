import { closeSync } from 'node:fs';
import { describeError, MeshError } from '../../base/errors.ts';
import { isCaptureWanted } from '../../mesh/kubernetes/capture.ts';
import { AMBIENT_REDIRECTION } from '../../mesh/kubernetes/labels.ts';
import type { ZdsPod } from '../../mesh/zds/server.ts';
import { openNetns } from '../../net/netns.ts';
import { findReadable } from '../../net/readable.ts';
import { EnrolledPod, type EnrolmentParts } from './enrolled-pod.ts';
import type { PodListener } from '../../mesh/zds/listeners.ts';
import type { PodSocketName } from '../../mesh/zds/pod-sockets.ts';
import type { PodListeners } from './pod-listeners.ts';
import type { AgentPod } from './pod-source.ts';
import { Backoff, pause } from './retry.ts';
import { ReturnedSockets } from './returned-sockets.ts';
import { releaseRules, removeRules } from './apply-rules.ts';

/** Annotation by which a user asks that connections open at enrolment be ended; each new value asks once. */
const RESET_OPEN = 'halo.dev/reset-open';

/** Told of a pod that is about to start, the answer to whether it may. */
type Waiter = Readonly<{ resolve: () => void }>;

/** What a release has left to do once the last captured connection has ended. */
type Cleaning = Readonly<{ abort: AbortController; done: Promise<void> }>;

/** Which pods of this node are captured: compares what is wanted with what is, one pod at a time each. */
export class Enrolments {
  readonly #parts: EnrolmentParts;
  #pods: ReadonlyMap<string, AgentPod> = new Map();
  readonly #enrolled = new Map<string, EnrolledPod>();
  /** Pods that work is under way for; what comes meanwhile is looked at once more after it. */
  readonly #busy = new Map<string, { again: boolean }>();
  readonly #cleaning = new Map<string, Cleaning>();
  readonly #resetDone = new Map<string, string>();
  /** Pods without capture whose namespaces were looked at for rules that an earlier agent left. */
  readonly #checked = new Set<string>();
  readonly #waiters = new Map<string, Waiter[]>();
  readonly #firstRound = Promise.withResolvers<undefined>();
  /** Of pods that are not enrolled yet, in the first round. */
  readonly #returned = new ReturnedSockets();
  /** Pods of the first list that have not been tried yet. */
  #untried: Set<string> | undefined;
  #synced = false;
  #closed = false;

  constructor(parts: EnrolmentParts) {
    this.#parts = parts;
  }

  /** Whether the first list of pods has been worked through. */
  get synced(): boolean {
    return this.#synced && this.#busy.size === 0;
  }

  /**
   * For a proxy that connects; it drops what is not named. So this waits until each pod that the source first knew has
   * been tried once: after a restart of the agent the proxy is back sooner than the pods are. Pods are handed over one
   * after another, so those that somebody waits for come first.
   */
  async snapshot(): Promise<ZdsPod[]> {
    await this.#firstRound.promise;
    const pods = [...this.#enrolled.values()].filter((pod) => pod.state !== 'releasing');
    const isAwaited = this.#awaited(pods);
    return [...pods.filter(isAwaited), ...pods.filter((pod) => !isAwaited(pod))].map(
      (pod) => pod.zdsPod,
    );
  }

  /** A proxy took every pod of the snapshot but these. */
  confirmSnapshot(failed: ReadonlySet<string>): void {
    for (const [uid, pod] of this.#enrolled)
      if (!failed.has(uid))
        void pod.confirm().then(() => {
          this.#wake(uid);
        });
  }

  /** @throws {MeshError} ERR_LISTENER for a pod that is not enrolled here. */
  listenersOf(uid: string): PodListeners {
    const pod = this.#enrolled.get(uid);
    if (pod !== undefined && pod.state !== 'releasing') return pod.listeners;
    const message = `Cannot listen for pod ${uid}: it is not enrolled`;
    throw new MeshError('ERR_LISTENER', 'local', message);
  }

  /**
   * Takes what a proxy gives back, also of a pod that is only about to be found; the descriptor is ours from here on.
   *
   * @throws {MeshError} ERR_LISTENER for a pod that is not enrolled here, and a socket that is none of its.
   */
  adopt(uid: string, name: PodSocketName, listener: PodListener): void {
    const pod = this.#enrolled.get(uid);
    if (pod === undefined && this.#returned.keep(uid, name, listener)) return;
    let listeners: PodListeners;
    try {
      listeners = this.listenersOf(uid);
    } catch (error) {
      closeSync(listener.fd);
      throw error;
    }
    listeners.adopt(name, listener);
  }

  describe(): readonly Readonly<Record<string, unknown>>[] {
    return [...this.#enrolled.values()].map((enrolled) => ({
      uid: enrolled.pod.uid,
      name: `${enrolled.pod.namespace}/${enrolled.pod.name}`,
      state: enrolled.state,
      openPlainConnections: enrolled.openPlainConnections,
      listeners: enrolled.listeners.names,
      ...enrolled.options,
    }));
  }

  /** What the source knows now. */
  update(pods: ReadonlyMap<string, AgentPod>): void {
    const before = this.#pods;
    this.#pods = pods;
    this.#untried ??= new Set(pods.keys());
    if (this.#untried.size === 0) this.#endFirstRound();
    for (const uid of new Set([...before.keys(), ...pods.keys()]))
      if (before.get(uid) !== pods.get(uid)) this.#look(uid);
    this.#synced = true;
  }

  /**
   * Resolves when a pod that is about to start may: it is captured, or is not to be.
   *
   * @throws {Error} when the signal is given before.
   */
  async whenDecided(namespace: string, name: string, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    for (;;) {
      signal.throwIfAborted();
      const pod = [...this.#pods.values()].find(
        (known) => known.namespace === namespace && known.name === name && known.ips.length > 0,
      );
      if (pod !== undefined) {
        if (!isWanted(pod) || this.#enrolled.get(pod.uid)?.mayStart === true) return;
        await this.#changed(pod.uid, signal);
      } else await pause(backoff.next(), signal); // the watch has not brought it yet
    }
  }

  close(): void {
    this.#closed = true;
    for (const { abort } of this.#cleaning.values()) abort.abort();
    for (const pod of this.#enrolled.values()) pod.leave();
    this.#enrolled.clear();
    this.#returned.close();
  }

  #look(uid: string): void {
    const busy = this.#busy.get(uid);
    if (busy !== undefined) {
      busy.again = true;
      return;
    }
    const entry = { again: true };
    this.#busy.set(uid, entry);
    void this.#work(uid, entry);
  }

  async #work(uid: string, entry: { again: boolean }): Promise<void> {
    const backoff = new Backoff();
    while (entry.again && !this.#closed) {
      entry.again = false;
      try {
        await this.#settle(uid);
      } catch (error) {
        this.#parts.log(`pod ${uid}: ${describeError(error)}`);
        this.#tried(uid);
        await pause(backoff.next(), new AbortController().signal);
        entry.again = this.#pods.has(uid);
      }
    }
    this.#busy.delete(uid);
    this.#tried(uid);
    this.#wake(uid);
  }

  /** Whether connections or queries are in the queues of a pod's sockets now. */
  #awaited(pods: readonly EnrolledPod[]): (pod: EnrolledPod) => boolean {
    try {
      const readable = findReadable(pods.flatMap(({ listeners }) => listeners.descriptors));
      return ({ listeners }) => listeners.descriptors.some((fd) => readable.has(fd));
    } catch (error) {
      this.#parts.log(`cannot look for pods that are waited for: ${describeError(error)}`);
      return () => false;
    }
  }

  #tried(uid: string): void {
    if (this.#untried?.delete(uid) === true && this.#untried.size === 0) this.#endFirstRound();
  }

  #endFirstRound(): void {
    this.#returned.close();
    this.#firstRound.resolve(undefined);
  }

  /** Brings one pod to where it is wanted. */
  async #settle(uid: string): Promise<void> {
    const pod = this.#pods.get(uid);
    const enrolled = this.#enrolled.get(uid);
    if (pod === undefined || pod.ended) {
      await this.#end(uid, enrolled);
      return;
    }
    if (!isWanted(pod)) {
      if (enrolled !== undefined) await this.#release(uid, enrolled);
      else await this.#removeLeftovers(pod);
      return;
    }
    if (pod.netnsPath === '' || pod.ips.length === 0) return; // its network does not stand yet
    if (enrolled === undefined) await this.#enrol(pod);
    else {
      await enrolled.update(pod);
      await this.#resetOpen(enrolled, pod);
    }
  }

  async #enrol(pod: AgentPod): Promise<void> {
    const { uid } = pod;
    await this.#stopCleaning(uid); // or it takes the new rules for the old ones
    const enrolled = await EnrolledPod.capture(pod, this.#parts);
    this.#enrolled.set(uid, enrolled);
    enrolled.adopt(this.#returned.take(uid));
    // Not awaited: the proxy may be away for long, and the pod may be released meanwhile.
    void enrolled.announce().then(() => {
      this.#wake(uid);
    });
    const wish = pod.annotations[RESET_OPEN];
    if (wish === undefined) return;
    this.#resetDone.set(uid, wish);
    await enrolled.resetOpen();
  }

  async #resetOpen(enrolled: EnrolledPod, pod: AgentPod): Promise<void> {
    const wish = pod.annotations[RESET_OPEN];
    if (wish === undefined || this.#resetDone.get(pod.uid) === wish) return;
    this.#resetDone.set(pod.uid, wish);
    await enrolled.resetOpen();
  }

  async #release(uid: string, enrolled: EnrolledPod): Promise<void> {
    await enrolled.release();
    this.#enrolled.delete(uid);
    const abort = new AbortController();
    const done = enrolled.cleanUp(abort.signal).then(() => {
      if (this.#cleaning.get(uid)?.abort === abort) this.#cleaning.delete(uid);
    });
    this.#cleaning.set(uid, { abort, done });
  }

  async #stopCleaning(uid: string): Promise<void> {
    const cleaning = this.#cleaning.get(uid);
    cleaning?.abort.abort();
    await cleaning?.done;
  }

  async #end(uid: string, enrolled: EnrolledPod | undefined): Promise<void> {
    this.#cleaning.get(uid)?.abort.abort();
    if (enrolled !== undefined) {
      await enrolled.end();
      this.#enrolled.delete(uid);
    }
    if (this.#pods.has(uid)) return;
    this.#resetDone.delete(uid);
    this.#checked.delete(uid);
  }

  /** Once for each pod: an agent before this one may have captured what was unlabelled while none ran. */
  async #removeLeftovers(pod: AgentPod): Promise<void> {
    const { uid, netnsPath } = pod;
    if (netnsPath === '' || pod.ips.length === 0 || this.#checked.has(uid)) return;
    this.#checked.add(uid);
    const netns = openNetns(netnsPath);
    try {
      await releaseRules(netns);
      if (pod.annotations[AMBIENT_REDIRECTION] === undefined) return;
      await this.#parts.source.annotate(pod, { [AMBIENT_REDIRECTION]: null });
      await removeRules(netns, this.#parts.ipv6);
    } finally {
      netns.close();
    }
  }

  #changed(uid: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(uid) ?? [];
      if (waiters.push({ resolve }) === 1) this.#waiters.set(uid, waiters);
      signal.addEventListener('abort', () => {
        resolve();
      });
    });
  }

  #wake(uid: string): void {
    const waiters = this.#waiters.get(uid) ?? [];
    this.#waiters.delete(uid);
    for (const { resolve } of waiters) resolve();
  }
}

function isWanted(pod: AgentPod): boolean {
  const { namespace, labels, annotations, namespaceLabels, hostNetwork } = pod;
  return isCaptureWanted({ namespace, labels, annotations, namespaceLabels, hostNetwork });
}
