import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { podAdminSocket } from '../../deploy/sandbox/api.ts';
import { fetchAdmin } from '../../mesh/admin/client.ts';
import { Metrics } from '../support/mesh-metrics.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';
import { startMesh } from '../support/mesh.ts';
import { sized } from './full-size.ts';
import type { LargeBody } from './large-body/large-body.ts';

/* `HALO_FULL=1 npx ava test/lifecycle/large-body.test.ts` moves 10 GB each way. */

const BYTES = sized(10e9, 1e9);
/** What a process may need for it: some windows of one stream, and the heap's own ups and downs. */
const MOST_GROWTH_BYTES = 96 << 20;
const SAMPLE_EVERY_MS = 200;
/** 10 MB/s, on a machine that has other things to do; slower is standing still. */
const LIMIT_MS = BYTES / 10e3;

const PROGRAMS = join(import.meta.dirname, 'large-body');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverPodYaml('web', { node: 'node-2', image: 'test/large-body' }),
    waypointServiceYaml('web'),
    waypointYaml('waypoint'),
  ].join(''),
  settings: { images: { 'test/large-body': [...NODE, join(PROGRAMS, 'server-program.ts')] } },
});

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

/** Resident memory of the processes on the way. */
async function resident(): Promise<Readonly<Record<string, number>>> {
  const [pod = ''] = await waypointPods(mesh, 'waypoint');
  const { metadata } = await mesh.object('Pod', pod.split('/')[1] ?? '');
  const path = podAdminSocket(mesh.sandbox.paths, metadata.uid ?? '');
  const { body } = await fetchAdmin({ kind: 'unix', path }, '/metrics');
  const all = {
    waypoint: new Metrics(body),
    'ztunnel-node-1': await mesh.metrics('node-1'),
    'ztunnel-node-2': await mesh.metrics('node-2'),
  };
  return Object.fromEntries(
    Object.entries(all).map(([name, metrics]) => [
      name,
      metrics.sum('process_resident_memory_bytes'),
    ]),
  );
}

/** Moves one body; the most that each process grew by meanwhile. */
async function move(
  direction: 'down' | 'up',
): Promise<Readonly<{ body: LargeBody; growth: Readonly<Record<string, number>> }>> {
  const before = await resident();
  const growth: Record<string, number> = {};
  const over = new AbortController();
  const sampling = (async () => {
    while (!over.signal.aborted) {
      for (const [name, bytes] of Object.entries(await resident()))
        growth[name] = Math.max(growth[name] ?? 0, bytes - (before[name] ?? 0));
      await delay(SAMPLE_EVERY_MS);
    }
  })();
  const args = [direction, 'http://web.shop', String(BYTES)];
  const command = [...NODE, join(PROGRAMS, 'client-program.ts'), ...args];
  const moving = mesh.exec('shop/client', command).finally(() => {
    over.abort();
  });
  const [{ stdout, stderr }] = await Promise.all([moving, sampling]);
  if (stdout === '') throw new Error(stderr);
  return { body: JSON.parse(stdout) as LargeBody, growth };
}

for (const direction of ['down', 'up'] as const)
  test.serial(
    `a body that is larger than memory goes ${direction} through a waypoint, every byte right, and takes little of it`,
    async (t) => {
      t.timeout(LIMIT_MS);
      const { body, growth } = await move(direction);
      const megabytes = Object.entries(growth).map(([name, bytes]) => `${name} ${bytes >> 20} MiB`);
      t.log(
        `${BYTES / 1e9} GB at ${body.gigabitsPerSecond.toFixed(2)} Gb/s; grew by at most: ${megabytes.join(', ')}`,
      );
      t.is(body.wrong, '');
      for (const [name, bytes] of Object.entries(growth))
        t.true(bytes < MOST_GROWTH_BYTES, `${name} grew by ${bytes} bytes`);
    },
  );
