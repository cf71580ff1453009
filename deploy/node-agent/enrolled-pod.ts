import { describeError } from '../../base/errors.ts';
import {
  AMBIENT_REDIRECTION,
  AMBIENT_REDIRECTION_ENABLED,
  AMBIENT_REDIRECTION_PENDING,
  BYPASS_INBOUND_CAPTURE,
  DNS_CAPTURE,
  REROUTE_VIRTUAL_INTERFACES,
} from '../../mesh/kubernetes/labels.ts';
import type { PodListener } from '../../mesh/zds/listeners.ts';
import type { PodSocketName } from '../../mesh/zds/pod-sockets.ts';
import type { ZdsPod, ZdsServer } from '../../mesh/zds/server.ts';
import { openNetns, ownNetnsId, type Netns } from '../../net/netns.ts';
import type { AgentPod, PodSource } from './pod-source.ts';
import { PodListeners } from './pod-listeners.ts';
import {
  hasCapturedConnections,
  hasTcpSockets,
  listConnections,
  resetAll,
  resetConnections,
  type ConnectionKey,
} from './plain-connections.ts';
import { Backoff, pause } from './retry.ts';
import { releaseRules, removeRules, setRules } from './apply-rules.ts';
import { formatCaptureRules, parseInterfaces, type CaptureOptions } from './rules.ts';

/** Annotation that we write: how many plain connections, open at enrolment, are open still. */
const OPEN_PLAIN = 'halo.dev/open-plain-connections';
/** Between the word that a pod is no longer captured and the end of its HBONE listener: peers learn it meanwhile. */
const RELEASE_SETTLE_MS = 300;
/** How often the connections are looked at that outlive an enrolment or a release. */
const LOOK_PERIOD_MS = 2000;
/** The last words of a pod that has ended, still in the proxy's hands, have this long to reach its peers: 250 ms. */
const END_LOOKS = 5;
const END_LOOK_PERIOD_MS = 50;

const NO_CONNECTIONS: ReadonlySet<ConnectionKey> = new Set();

export type EnrolmentParts = Readonly<{
  source: PodSource;
  zds: ZdsServer;
  dnsCapture: boolean;
  ipv6: boolean;
  log(message: string): void;
}>;

/** capturing: rules stand, the proxy has not answered yet. */
export type EnrolmentState = 'capturing' | 'enabled' | 'releasing';

/**
 * The capture of one pod, from enrolment to release:
 *
 *   listeners -> rules -> ZDS add, acked -> annotation enabled
 *   flush nat chains -> annotation gone -> ZDS del -> listeners closed -> (last captured connection) -> table, routes
 */
export class EnrolledPod {
  readonly #parts: EnrolmentParts;
  readonly #netns: Netns;
  readonly #listeners: PodListeners;
  readonly #stop = new AbortController();
  #pod: AgentPod;
  #state: EnrolmentState = 'capturing';
  #isAnnotated = false;
  #openPlain = NO_CONNECTIONS;
  #toldOpenPlain = 0;
  /** Settles when what was to be said of the pod has been said. */
  #told: Promise<void> = Promise.resolve();

  private constructor(pod: AgentPod, netns: Netns, parts: EnrolmentParts) {
    this.#pod = pod;
    this.#netns = netns;
    this.#parts = parts;
    this.#listeners = new PodListeners(netns, parts.ipv6);
  }

  /**
   * Puts the rules in force; the proxy is told by announce().
   *
   * @throws {Error} when the namespace is not a pod's, or the rules cannot be set; nothing is captured then.
   */
  static async capture(pod: AgentPod, parts: EnrolmentParts): Promise<EnrolledPod> {
    const netns = openNetns(pod.netnsPath);
    const enrolled = new EnrolledPod(pod, netns, parts);
    try {
      if (netns.id === ownNetnsId()) throw new Error("the pod's namespace is the node's own");
      // A pod that is about to start has no sockets yet, and waits for us.
      const isNew = !hasTcpSockets(netns);
      enrolled.#listeners.openAll(enrolled.options);
      const before = isNew ? NO_CONNECTIONS : listConnections(netns);
      await enrolled.#setRules(isNew);
      // Captured before already, and found again: what is open then may well be captured.
      if (pod.annotations[AMBIENT_REDIRECTION] === undefined) enrolled.#openPlain = before;
      return enrolled;
    } catch (error) {
      enrolled.#close();
      throw error;
    }
  }

  get pod(): AgentPod {
    return this.#pod;
  }

  get state(): EnrolmentState {
    return this.#state;
  }

  /** Whether the proxy has it and its annotations say so: without these others would dial it in plain text. */
  get mayStart(): boolean {
    return this.#state === 'enabled' && this.#isAnnotated;
  }

  get openPlainConnections(): number {
    return this.#openPlain.size;
  }

  get options(): CaptureOptions {
    return captureOptions(this.#pod, this.#parts.dnsCapture);
  }

  get zdsPod(): ZdsPod {
    const { uid, name, namespace, serviceAccount } = this.#pod;
    return { uid, info: { name, namespace, serviceAccount }, netns: this.#netns };
  }

  get listeners(): PodListeners {
    return this.#listeners;
  }

  /** Keeps what a proxy has given back of it, where the pod has none of its own. */
  adopt(returned: ReadonlyMap<PodSocketName, PodListener>): void {
    for (const [name, listener] of returned)
      try {
        this.#listeners.adopt(name, listener);
      } catch (error) {
        this.#parts.log(describeError(error));
      }
  }

  /** Hands the pod to the proxy until it takes it. Never rejects; ends early when the pod is released or left. */
  async announce(): Promise<void> {
    const backoff = new Backoff();
    while (this.#isCapturing()) {
      const outcome = await this.#parts.zds.add(this.zdsPod);
      if (outcome.kind === 'acked') {
        await this.confirm();
        return;
      }
      // Refused because it was released meanwhile, it must not be said to be on its way into the mesh.
      if (!this.#isCapturing()) return;
      if (this.#pod.annotations[AMBIENT_REDIRECTION] === undefined)
        await this.#annotate({ [AMBIENT_REDIRECTION]: AMBIENT_REDIRECTION_PENDING });
      await backoff.wait(this.#stop.signal);
    }
  }

  /** The proxy has it; resolves when the pod's annotations say so. */
  async confirm(): Promise<void> {
    if (this.#state !== 'capturing') return;
    this.#state = 'enabled';
    this.#toldOpenPlain = this.#openPlain.size;
    await this.#annotate({
      [AMBIENT_REDIRECTION]: AMBIENT_REDIRECTION_ENABLED,
      [OPEN_PLAIN]: this.#openPlain.size === 0 ? null : String(this.#openPlain.size),
    });
    this.#isAnnotated = true;
    if (this.#openPlain.size > 0) void this.#watchOpenPlain();
  }

  /** Takes the pod as it is now; rules follow where its annotations changed. */
  async update(pod: AgentPod): Promise<void> {
    const before = JSON.stringify(this.options);
    this.#pod = pod;
    if (JSON.stringify(this.options) === before || this.#state === 'releasing') return;
    await this.#setRules(false);
  }

  /** Ends the plain connections that were open at enrolment. */
  async resetOpen(): Promise<void> {
    resetConnections(this.#netns, this.#openPlain);
    await this.#lookAtOpenPlain();
  }

  /** The pod lives on without capture; resolves when nothing new goes through the proxy. Never rejects. */
  async release(): Promise<void> {
    this.#state = 'releasing';
    this.#stop.abort();
    const { zds, log } = this.#parts;
    const { uid, namespace, name } = this.#pod;
    try {
      await releaseRules(this.#netns);
    } catch (error) {
      log(`cannot release pod ${namespace}/${name}: ${describeError(error)}`);
    }
    await this.#annotate({ [AMBIENT_REDIRECTION]: null, [OPEN_PLAIN]: null });
    await pause(RELEASE_SETTLE_MS, new AbortController().signal);
    await zds.remove(uid);
    this.#listeners.close();
  }

  /** After release(): removes every trace once the last captured connection has ended. Never rejects. */
  async cleanUp(signal: AbortSignal): Promise<void> {
    try {
      while (hasCapturedConnections(this.#netns)) {
        await pause(LOOK_PERIOD_MS, signal);
        if (signal.aborted) return;
      }
      if (signal.aborted) return; // captured again, or the agent ends: the rules stay
      await removeRules(this.#netns, this.#parts.ipv6);
    } catch (error) {
      this.#parts.log(`cannot clean up after pod ${this.#pod.name}: ${describeError(error)}`);
    } finally {
      this.#netns.close();
    }
  }

  /** The pod's processes have ended: the proxy lets it go, and its namespace with it. Never rejects. */
  async end(): Promise<void> {
    this.#state = 'releasing';
    this.#stop.abort();
    await this.#parts.zds.remove(this.#pod.uid);
    await this.#dropConnections();
    this.#close();
    await this.#annotate({ [AMBIENT_REDIRECTION]: null, [OPEN_PLAIN]: null });
  }

  /** The agent ends: pods stay captured. */
  leave(): void {
    this.#stop.abort();
    this.#close();
  }

  /** @param isNew most likely none are there: it is tried in the quicker way first. */
  async #setRules(isNew: boolean): Promise<void> {
    const set = (onlyNew: boolean): Promise<void> =>
      setRules(this.#netns, formatCaptureRules(this.options, { onlyNew }), this.#parts.ipv6);
    if (!isNew) await set(false);
    else await set(true).catch(() => set(false));
  }

  /**
   * What the pod has left open has nobody at its end. Peers are told while the network stands; without that they
   * would find out by silence, up to 30 s later.
   */
  async #dropConnections(): Promise<void> {
    try {
      for (let looks = 0; looks < END_LOOKS; looks++) {
        if (!hasCapturedConnections(this.#netns)) break;
        await pause(END_LOOK_PERIOD_MS, new AbortController().signal);
      }
      resetAll(this.#netns);
    } catch (error) {
      this.#parts.log(`cannot end connections of pod ${this.#pod.name}: ${describeError(error)}`);
    }
  }

  /** One after another: each is tried until it is taken, and the last must win. */
  #annotate(annotations: Readonly<Record<string, string | null>>): Promise<void> {
    this.#told = this.#told.then(() => this.#parts.source.annotate(this.#pod, annotations));
    return this.#told;
  }

  /** Asked anew after each wait. */
  #isCapturing(): boolean {
    return this.#state === 'capturing' && !this.#stop.signal.aborted;
  }

  #close(): void {
    this.#listeners.close();
    this.#netns.close();
  }

  async #watchOpenPlain(): Promise<void> {
    while (this.#openPlain.size > 0) {
      await pause(LOOK_PERIOD_MS, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      await this.#lookAtOpenPlain();
    }
  }

  async #lookAtOpenPlain(): Promise<void> {
    try {
      const now = listConnections(this.#netns);
      this.#openPlain = new Set([...this.#openPlain].filter((key) => now.has(key)));
    } catch (error) {
      this.#parts.log(`cannot list connections of pod ${this.#pod.name}: ${describeError(error)}`);
    }
    const count = this.#openPlain.size;
    if (count === this.#toldOpenPlain || this.#stop.signal.aborted) return;
    this.#toldOpenPlain = count;
    const text = count === 0 ? null : String(count);
    await this.#annotate({ [OPEN_PLAIN]: text });
  }
}

function captureOptions(pod: AgentPod, dnsDefault: boolean): CaptureOptions {
  const annotations = new Map(Object.entries(pod.annotations));
  const dns = annotations.get(DNS_CAPTURE);
  return {
    dns: dns === undefined ? dnsDefault : dns === 'true',
    inbound: annotations.get(BYPASS_INBOUND_CAPTURE) !== 'true',
    virtualInterfaces: parseInterfaces(annotations.get(REROUTE_VIRTUAL_INTERFACES) ?? ''),
  };
}
