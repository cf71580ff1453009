import { readdirSync, readFileSync } from 'node:fs';
import { outsidePid, processMemory } from '../../../bench/harness/processes.ts';
import { fetchAdmin } from '../../../mesh/admin/client.ts';
import { BLOCK_MS } from '../../../mesh/runtime/loop-watchdog.ts';
import type { Mesh } from '../../support/mesh.ts';
import { Metrics } from '../../support/mesh-metrics.ts';
import { monotonicMs } from '../../support/tagged-bytes.ts';
import { findGrowth, type GrowthLimits, type Sample } from './growth.ts';

const ADMIN_TIMEOUT_MS = 1_000;
/** A loop whose threads have waited so long for a processor was late, not blocked: the machine was busy. */
const WAITED_MS = BLOCK_MS / 2;

const OPENED = 'istio_tcp_connections_opened_total';
const CLOSED = 'istio_tcp_connections_closed_total';

/** The loops of one process, as the last look found them. */
type LoopState = Readonly<{ pid: number; blocks: number; waitedMs: number }>;

/** Looks at every part of a mesh again and again: its memory, its descriptors, and how long its event loops were blocked. */
export class PartWatch {
  readonly #mesh: Mesh;
  readonly #samples = new Map<string, Sample[]>();
  readonly #loops = new Map<string, LoopState>();
  /** Sentences about loops that were blocked for long, by nobody's fault but the program's. */
  readonly blocks: string[] = [];

  constructor(mesh: Mesh) {
    this.#mesh = mesh;
  }

  /** @param faulted a fault has been stopping or starving processes since the last look. */
  async look(faulted: boolean): Promise<void> {
    const { parts, supervisorPid } = await this.#mesh.sandbox.status();
    await Promise.all(
      parts.map(async ({ name, kind, pid: inside, adminSocket }) => {
        const pid = inside === undefined ? undefined : outsidePid(inside, supervisorPid);
        if (pid === undefined) return;
        this.#sample(name, pid);
        if (kind === 'ztunnel') await this.#lookAtLoops(name, pid, adminSocket, faulted);
      }),
    );
  }

  /** The connections that each ztunnel has now; NaN when it does not answer. */
  async relayed(): Promise<ReadonlyMap<string, number>> {
    const { parts } = await this.#mesh.sandbox.status();
    const counts = parts
      .filter(({ kind }) => kind === 'ztunnel')
      .map(async ({ name, adminSocket }) => {
        const metrics = await metricsAt(adminSocket);
        const [opened, closed] = [OPENED, CLOSED].map((counter) => metrics?.sum(counter) ?? NaN);
        return [name, (opened ?? NaN) - (closed ?? NaN)] as const;
      });
    return new Map(await Promise.all(counts));
  }

  /** What grows, a sentence each. */
  growth(limits: GrowthLimits): string[] {
    return [...this.#samples].flatMap(([part, samples]) => findGrowth(part, samples, limits));
  }

  /** The last look at each part: `ztunnel-node-1 61 MiB 44 fds`. */
  describe(): string {
    return [...this.#samples]
      .map(([part, samples]) => {
        const last = samples.at(-1);
        const mebibytes = Math.round((last?.privateBytes ?? 0) / 2 ** 20);
        return `${part} ${mebibytes} MiB ${last?.descriptors ?? 0} fds`;
      })
      .join(', ');
  }

  /** The newest sample of each part. */
  latest(): ReadonlyMap<string, Sample> {
    return new Map(
      [...this.#samples].flatMap(([part, samples]) => {
        const last = samples.at(-1);
        return last === undefined ? [] : [[part, last] as const];
      }),
    );
  }

  #sample(part: string, pid: number): void {
    try {
      const descriptors = readdirSync(`/proc/${pid}/fd`).length;
      const privateBytes = processMemory([pid]).privateDirty;
      let samples = this.#samples.get(part);
      if (samples === undefined) this.#samples.set(part, (samples = []));
      samples.push({ atMs: monotonicMs(), pid, privateBytes, descriptors });
    } catch {
      // It has just ended.
    }
  }

  async #lookAtLoops(part: string, pid: number, path: string, faulted: boolean): Promise<void> {
    const metrics = await metricsAt(path);
    if (metrics === undefined) {
      this.#loops.delete(part); // stopped or gone: what it tells later is about that time
      return;
    }
    const blocks = metrics.sum('halo_event_loop_blocks_total');
    const waitedMs = runQueueWaitMs(pid);
    const before = this.#loops.get(part);
    this.#loops.set(part, { pid, blocks, waitedMs });
    if (faulted || before?.pid !== pid || blocks <= before.blocks) return;
    const waited = waitedMs - before.waitedMs;
    if (waited < WAITED_MS)
      this.blocks.push(
        `${part}: ${blocks - before.blocks} blocks of ${BLOCK_MS} ms and more; its threads waited ${waited.toFixed(0)} ms for a processor`,
      );
  }
}

/** What a proxy counts; `undefined` when it does not answer in time. */
async function metricsAt(path: string): Promise<Metrics | undefined> {
  const timeout = AbortSignal.timeout(ADMIN_TIMEOUT_MS);
  const page = await Promise.race([
    fetchAdmin({ kind: 'unix', path }, '/metrics').catch(() => undefined),
    new Promise<undefined>((resolve) => {
      timeout.addEventListener('abort', () => {
        resolve(undefined);
      });
    }),
  ]);
  return page && new Metrics(page.body);
}

/** How long all threads of a process together have been ready and had no processor, so far. */
function runQueueWaitMs(pid: number): number {
  let waitedNs = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8');
      waitedNs += Number(text.split(' ')[1] ?? 0);
    }
  } catch {
    // A thread or all of it has just ended.
  }
  return waitedNs / 1e6;
}
