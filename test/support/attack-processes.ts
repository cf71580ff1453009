import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { ExecutionContext } from 'ava';
import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import type { TestPod } from './ztunnel-pods.ts';

/** An identity as node:tls takes it. */
export type IdentityFiles = Readonly<{ key: string; cert: string; ca: string[] }>;

export type AttackKind = 'h2' | 'slow' | 'junk';

/** All attackers share one core: what they do to others, they do by the proxy. */
const ATTACKERS_CORE = '1';
/** Nice values of who is measured, and of everybody else. */
const [AHEAD, AS_ALL] = [-15, 0];
/** Linux's groups of a session's processes, which share the processors whatever the nice values of their members are. */
const SESSION_GROUP = '/proc/self/autogroup';

/**
 * Puts this process, in which the proxy runs, ahead of whatever else the machine does until the test is over: what is
 * measured is the proxy. Where that is not allowed it stays where it is.
 */
export function goAhead(t: ExecutionContext): void {
  const go = (priority: number): void => {
    for (const thread of readdirSync('/proc/self/task'))
      tryTo(() => {
        setPriority(Number(thread), priority);
      });
    tryTo(() => {
      writeFileSync(SESSION_GROUP, String(priority));
    });
  };
  go(AHEAD);
  t.teardown(() => {
    go(AS_ALL);
  });
}

/** What a thread that has ended, another kernel or a lack of rights makes impossible is left undone. */
function tryTo(action: () => void): void {
  try {
    action();
  } catch {
    // As it is.
  }
}

function identityFiles(certificate: WorkloadCertificate): IdentityFiles {
  const { privateKeyPem: key, chainPem, rootsPem } = certificate;
  return { key, cert: chainPem.join(''), ca: [...rootsPem] };
}

/** A program of the test in a pod's namespace, until the test is over. */
function startProgram(
  t: ExecutionContext,
  pod: TestPod,
  priority: number,
  command: readonly string[],
): ChildProcess & { stdin: NodeJS.WritableStream; stdout: NodeJS.ReadableStream } {
  const child = spawn('nsenter', [`--net=/proc/${process.pid}/fd/${pod.netns.fd}`, ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // Before it has threads, which begin with the nice value of the first.
  tryTo(() => {
    if (child.pid !== undefined) setPriority(child.pid, priority);
  });
  child.stdin.on('error', () => undefined);
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return child;
}

function node(program: string): string[] {
  return [
    ...[process.execPath, '--disable-warning=ExperimentalWarning'],
    join(import.meta.dirname, program),
  ];
}

/** Runs a class of attackers for `ms`; resolves to how many connections it made. */
export async function runAttack(
  t: ExecutionContext,
  pod: TestPod,
  kind: AttackKind,
  target: SocketAddress,
  certificate: WorkloadCertificate,
  ms: number,
): Promise<number> {
  const child = startProgram(t, pod, AS_ALL, [
    ...['taskset', '-c', ATTACKERS_CORE, ...node('attack-program.ts')],
    ...[kind, target.ip, `${target.port}`, `${ms}`],
  ]);
  child.stdin.end(JSON.stringify(identityFiles(certificate)));
  return Number(await text(child.stdout));
}

/** A client that means no harm, in a process of its own. */
export class HarmlessClient {
  readonly #child: ReturnType<typeof startProgram>;
  readonly #lines: Interface;
  readonly #ended: Promise<never>;

  /** Ahead of the attackers, where it shares their core: it measures the proxy, not the machine. */
  constructor(
    t: ExecutionContext,
    pod: TestPod,
    target: SocketAddress,
    authority: string,
    certificate: WorkloadCertificate,
  ) {
    const identity = JSON.stringify(identityFiles(certificate));
    const command = [
      ...node('harmless-program.ts'),
      formatSocketAddress(target),
      authority,
      identity,
    ];
    this.#child = startProgram(t, pod, AHEAD, command);
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#ended = once(this.#child, 'exit').then(() => {
      throw new Error('A harmless client was failed');
    });
    this.#ended.catch(() => undefined); // told to who asks
  }

  /** Round trips in milliseconds since the last call. @throws {Error} when it was failed. */
  async waits(): Promise<readonly number[]> {
    const answer = once(this.#lines, 'line') as Promise<[string]>;
    this.#child.stdin.write('\n');
    const [line] = await Promise.race([answer, this.#ended]);
    return JSON.parse(line) as number[];
  }
}

/** The value that 99 of 100 do not pass. */
export function percentile99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
}
