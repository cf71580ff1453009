import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { ztunnelsOf } from '../../cli/parts.ts';
import { makeRow } from '../harness/rows.ts';
import { quantile } from '../harness/statistics.ts';
import { ECHO_PORT } from '../load/protocol.ts';
import type { Context, Question } from './context.ts';
import { idlePodsYaml } from './mesh-objects.ts';
import { LATE_NAMESPACE } from './places.ts';
import type { Rig } from './rig.ts';

const MANY = 50;
/** So that the tries themselves cost little: at most 1,000 a second, also of fifty pods. */
const PAUSE_MS = { one: 1, many: 50 };
const LOOK_EVERY_MS = 50;
const TIMEOUT_MS = 20_000;
const LABEL = 'istio.io/dataplane-mode';

/**
 * How long from the label that takes a running pod into the mesh until its first connection through both proxies has
 * ended? The pods try all the time, and are refused until then. Design, perf-S2.
 */
export const podsAdded: Question = {
  name: 'pods-added',
  async ask(context) {
    const { rig, rounds, note } = context;
    const [first = '', ...others] = Array.from({ length: MANY + 1 }, (_, index) => `pod-${index}`);
    const namespace = { kind: 'Namespace', name: LATE_NAMESPACE };
    const one: number[] = [];
    const many: number[] = [];
    for (let round = 0; round < rounds; round++) {
      note(`pods added: round ${round + 1} of ${rounds}`);
      // New ones each time, as pods are: when one comes back, the kernel looks at every connection that it tracks.
      await rig.apply(idlePodsYaml(LATE_NAMESPACE, MANY + 1));
      await rig.settled();
      const pod = { kind: 'Pod', namespace: LATE_NAMESPACE, name: first };
      one.push(...(await enrol(context, [first], pod)));
      many.push(quantile(await enrol(context, others, namespace), 0.99));
      await rig.sandbox.post('/v1/delete', { objects: [namespace] });
      await rig.settled();
    }
    const plan = { unit: 'ms', better: 'lower' } as const;
    return [
      makeRow({
        ...{ metric: 'perf-S2 pod added to first encrypted byte', ...plan, ours: one },
        budget: { must: 150, aim: 60 },
      }),
      makeRow({
        ...{ metric: `perf-S2 ${MANY} pods added to first encrypted byte, p99`, ...plan },
        ...{ ours: many, budget: { must: 1000, aim: 300 } },
      }),
    ];
  },
};

/** @returns milliseconds for each pod. */
async function enrol(
  { rig }: Context,
  names: readonly string[],
  object: Readonly<{ kind: string; namespace?: string; name: string }>,
): Promise<number[]> {
  const { pods } = await rig.status();
  const ips = names.map(
    (name) =>
      pods
        .find((pod) => pod.namespace === LATE_NAMESPACE && pod.name === name)
        ?.addresses.find((address) => !address.includes(':')) ?? '',
  );
  const namespaces = await Promise.all(names.map((name) => rig.podNetns(LATE_NAMESPACE, name)));
  const client = rig.client('outside');
  const pauseMs = names.length === 1 ? PAUSE_MS.one : PAUSE_MS.many;
  const log = new GrowingLog(await inboundLog(rig));
  await client.ask('keepTrying', { host: rig.vip, port: ECHO_PORT, namespaces, pauseMs });
  const beganMs = Date.now();
  await rig.sandbox.post('/v1/label', { object, labels: { [LABEL]: 'ambient' } });
  try {
    const firsts = await waitForFirsts(log, ips);
    return firsts.map((atMs) => atMs - beganMs);
  } finally {
    await client.ask('release', {});
  }
}

async function waitForFirsts(log: GrowingLog, ips: readonly string[]): Promise<readonly number[]> {
  const deadline = performance.now() + TIMEOUT_MS;
  const found = new Map<string, number>();
  for (;;) {
    await wait(LOOK_EVERY_MS);
    for (const [ip, atMs] of firstTunnels(log.added())) if (!found.has(ip)) found.set(ip, atMs);
    const firsts = ips.flatMap((ip) => found.get(ip) ?? []);
    if (firsts.length === ips.length) return firsts;
    if (performance.now() > deadline)
      throw new Error(`Cannot measure: ${ips.length - firsts.length} pods sent nothing encrypted`);
  }
}

/** What is added to a log, a look at a time; a full one is put aside, with `.1` behind its name. */
export class GrowingLog {
  readonly #path: string;
  #inode: number;
  #seen: number;
  /** The beginning of a line that is still being written. */
  #rest = '';

  /** Begins at its end. */
  constructor(path: string) {
    this.#path = path;
    const { ino, size } = statSync(path);
    this.#inode = ino;
    this.#seen = size;
  }

  /** The whole lines that have been added since the last look. */
  added(): string {
    const inode = statSync(this.#path, { throwIfNoEntry: false })?.ino;
    if (inode === undefined) return ''; // just being put aside
    let text = this.#rest;
    if (inode !== this.#inode) {
      text += readFrom(`${this.#path}.1`, this.#seen).toString();
      this.#inode = inode;
      this.#seen = 0;
    }
    const bytes = readFrom(this.#path, this.#seen);
    this.#seen += bytes.length;
    text += bytes.toString();
    const end = text.lastIndexOf('\n') + 1;
    this.#rest = text.slice(end);
    return text.slice(0, end);
  }
}

function readFrom(path: string, position: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(Math.max(0, fstatSync(fd).size - position));
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, position));
  } finally {
    closeSync(fd);
  }
}

/** By source address, when the first tunnel of each ended well, in milliseconds since 1970. */
export function firstTunnels(log: string): Map<string, number> {
  const firsts = new Map<string, number>();
  for (const line of log.split('\n')) {
    if (!line.includes('"connection complete"') || !line.endsWith('}')) continue;
    const record = JSON.parse(line) as Readonly<Record<string, unknown>>;
    const tunnel = record['direction'] === 'inbound' && record['src.identity'] !== undefined;
    if (!tunnel || record['error'] !== undefined) continue;
    const ip = String(record['src.addr']).replace(/:\d+$/, '');
    if (!firsts.has(ip)) firsts.set(ip, Date.parse(String(record['time'])));
  }
  return firsts;
}

async function inboundLog(rig: Rig): Promise<string> {
  const [part] = ztunnelsOf(await rig.status(), 'node-2');
  return part?.logFile ?? '';
}
