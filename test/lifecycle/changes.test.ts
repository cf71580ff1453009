import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { controlPlaneOf } from '../../cli/parts.ts';
import { leafCertificates, type ConfigDump } from '../../cli/ztunnel-tables.ts';
import { fetchAdmin } from '../../mesh/admin/client.ts';
import { startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { podYaml, serviceYaml } from '../support/mesh-yaml.ts';
import { sized } from './full-size.ts';
import { Load } from './load.ts';
import { SHOP } from './shop.ts';

const CHANGES = sized(10_000, 1_000);
const DURATION_S = sized(600, 60);
/** They are renewed after half of it: every 10 s in the full run. */
const CERTIFICATE_LIFETIME_S = sized(20, 6);
const ROTATIONS = 3;
const STEPS = ['begin', 'switch', 'finish'] as const;
const LONG = 100;
const NEW_PER_SECOND = 50;
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';

const mesh = startMesh(test, {
  yaml: SHOP + podYaml('other', { node: 'node-1' }),
  settings: { partEnvironment: { ztunnel: { SECRET_TTL: `${CERTIFICATE_LIFETIME_S}s` } } },
});

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

/** Policies that concern the server, services that come and go, and labels of a pod. */
async function change(index: number): Promise<void> {
  const slot = Math.floor(index / 4) % 20;
  switch (index % 4) {
    case 0: {
      const source = { principals: [`*/sa/nobody-${index}`] };
      await mesh.applySoon(
        policyYaml(`deny-${slot}`, { action: 'DENY', rules: [{ from: [{ source }] }] }),
      );
      return;
    }
    case 1:
      await mesh.applySoon(serviceYaml(`extra-${slot}`, { [1000 + (index % 9000)]: 9000 }));
      return;
    case 2: {
      const labels = { [`round`]: String(index) };
      const object = { kind: 'Pod', namespace: 'shop', name: 'other' };
      await mesh.sandbox.post('/v1/label', { object, labels });
      return;
    }
    default:
      await mesh.deleteSoon('Service', `extra-${slot}`);
  }
}

async function rotate(step: string): Promise<string> {
  const path = controlPlaneOf(await mesh.sandbox.status()).adminSocket;
  const page = `/ca/rotate?step=${step}`;
  const { status, body } = await fetchAdmin({ kind: 'unix', path }, page, { method: 'POST' });
  if (status !== 200) throw new Error(`${step}: ${status} ${body}`);
  return body;
}

async function serial(): Promise<string> {
  const dump = (await mesh.page('node-1', '/config_dump')) as ConfigDump;
  return leafCertificates(dump).find((one) => one.identity === CLIENT)?.serialNumber ?? '';
}

test('thousands of changes, short certificates and three new roots cost no connection', async (t) => {
  t.timeout((DURATION_S + 120) * 1000);
  const load = await Load.start(mesh, 'client', {
    ...{ host: await mesh.vip('web'), port: 80, long: LONG, newPerSecond: NEW_PER_SECOND },
  });
  const istiod = controlPlaneOf(await mesh.sandbox.status()).pid;
  const startedMs = performance.now();
  const serials = new Set<string>();
  let rotations = 0;
  let slowestChangeMs = 0;
  const rotating = async (): Promise<void> => {
    // Between two steps every proxy must have asked for a certificate: that brings it the bundle.
    const pauseMs = (DURATION_S * 1000) / (ROTATIONS * STEPS.length + 1);
    for (; rotations < ROTATIONS; rotations++)
      for (const step of STEPS) {
        await delay(pauseMs);
        await rotate(step);
      }
  };
  const rotated = rotating();
  for (let index = 0; index < CHANGES; index++) {
    const dueMs = startedMs + (index * DURATION_S * 1000) / CHANGES;
    await delay(Math.max(0, dueMs - performance.now()));
    const beginMs = performance.now();
    await change(index);
    slowestChangeMs = Math.max(slowestChangeMs, performance.now() - beginMs);
    if (index % 50 === 0) serials.add(await serial());
  }
  await rotated;
  const seconds = (performance.now() - startedMs) / 1000;
  await mesh.pushed();

  const { opened, failures, longOpen, longEnds, rounds } = await load.end();
  t.log(
    `${CHANGES} changes in ${Math.round(seconds)} s, ${rotations} new roots, ${serials.size} certificates of the client seen;`,
    `${opened} connections made, ${failures.length} failed; ${rounds} rounds on ${LONG} long ones;`,
    `slowest change ${Math.round(slowestChangeMs)} ms`,
  );
  t.deepEqual(failures.slice(0, 20), []);
  t.deepEqual(longEnds, []);
  t.is(longOpen, LONG);
  t.true(opened > 0.9 * NEW_PER_SECOND * seconds, `${opened} in ${seconds} s`);
  t.is(rotations, ROTATIONS);
  t.true(serials.size >= DURATION_S / CERTIFICATE_LIFETIME_S, `${serials.size} certificates`);
  t.true(seconds < DURATION_S * 1.1, 'the changes were made at the rate that is promised');
  t.is(controlPlaneOf(await mesh.sandbox.status()).pid, istiod, 'all by the same process');
});
