import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { startMesh } from '../support/mesh.ts';
import { sized } from './full-size.ts';
import { SHOP } from './shop.ts';

const UPGRADES = sized(10, 3);

const mesh = startMesh(test, {
  yaml: SHOP,
  settings: { partEnvironment: { ztunnel: { CONNECTION_TERMINATION_DEADLINE: '1h' } } },
});

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

/** How many processes of that ztunnel drain. */
async function drainingOf(part: string): Promise<number> {
  const { parts } = await mesh.sandbox.status();
  return parts.find(({ name }) => name === part)?.draining ?? 0;
}

async function whenDraining(part: string, count: number): Promise<void> {
  while ((await drainingOf(part)) !== count) await delay(50);
}

for (const [side, part] of [
  ['client', 'ztunnel-node-1'],
  ['server', 'ztunnel-node-2'],
] as const)
  test.serial(
    `a ztunnel of the ${side} with an hour to drain serves its connection while newer ones come and go, and ends with it`,
    async (t) => {
      const client = await mesh.peer('client');
      const old = await client.connect('web.shop', 80);
      t.true(await old.echo('before'));
      for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
        const newer = await client.connect('web.shop', 80);
        t.true(await newer.echo('in the process that is replaced now'));
        await mesh.part(part, 'replace');
        t.true(await newer.echo('in the process that drains'));
        await newer.end();
        t.is((await newer.ended()).how, 'end');
        // The first process stays for the old connection; each one since then has ended with its own.
        await whenDraining(part, 1);
        t.true(await old.echo(`after upgrade ${upgrade}`));
      }
      await old.end();
      t.is((await old.ended()).how, 'end');
      await whenDraining(part, 0);
    },
  );
