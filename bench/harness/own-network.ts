import { once } from 'node:events';
import { CONGESTION_CONTROL } from '../../deploy/sandbox/networks.ts';
import { startChild, stopChild, type Child } from './child.ts';
import { enterNetns } from './enter-netns.ts';

/** A network namespace of a benchmark's own, with its loopback alone; it ends with this process at the latest. */
export class OwnNetwork implements AsyncDisposable {
  readonly #keeper: Child;

  /** Resolves when programs can run in it. */
  static async start(): Promise<OwnNetwork> {
    const root = process.getuid?.() === 0;
    const script = `ip link set lo up
echo ${CONGESTION_CONTROL} > /proc/sys/net/ipv4/tcp_congestion_control || :
echo up; exec cat`;
    const user = root ? [] : ['--map-root-user'];
    const keeper = startChild(['unshare', ...user, '--net', 'sh', '-e', '-c', script]);
    const network = new OwnNetwork(keeper);
    const ended = once(keeper, 'exit').then(() => {
      throw new Error('Cannot make a network namespace: unshare has ended');
    });
    await Promise.race([once(keeper.stdout, 'data'), ended]);
    ended.catch(() => undefined); // it ends some time
    return network;
  }

  private constructor(keeper: Child) {
    this.#keeper = keeper;
  }

  /** See enterNetns(). */
  enter(command: readonly string[]): string[] {
    const pid = this.#keeper.pid ?? 0;
    return enterNetns(pid, `/proc/${pid}/ns/net`, command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopChild(this.#keeper);
  }
}
