import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { EXEC_PROTOCOL } from '../../../deploy/sandbox/api.ts';
import { useOwnState } from '../../support/own-state.ts';
import { openSandbox, processesWith, type TestSandbox } from '../support.ts';

useOwnState();

const POD = `
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { terminationGracePeriodSeconds: 1, containers: [{ name: c, image: halo/client }] }
`;

/** Begins an exec whose client can be made to vanish; resolves when the program has said that it runs. */
async function begin(sandbox: TestSandbox, script: string): Promise<Socket> {
  const query = new URLSearchParams({ namespace: 'default', pod: 'client' });
  for (const word of ['sh', '-c', script]) query.append('command', word);
  const socket = connect(sandbox.paths.controlSocket);
  socket.write(
    `GET /v1/exec?${query.toString()} HTTP/1.1\r\nhost: sandbox\r\nconnection: Upgrade\r\nupgrade: ${EXEC_PROTOCOL}\r\n\r\n`,
  );
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += chunk.toString('latin1');
    if (text.includes('running')) return socket;
  }
  throw new Error(`the exec ended: ${text}`);
}

async function untilGone(mark: string): Promise<void> {
  while (processesWith(mark).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
}

test('a program whose client vanishes gets the end of its input, and nothing of it lives on', async (t) => {
  const sandbox = await openSandbox(t, 'exec', { nodes: 1 });
  await sandbox.apply(POD);
  t.true((await sandbox.settled()).done);
  const note = join(sandbox.paths.root, 'note');

  // One that ends with its input has the time to say so; no signal reaches it.
  const polite = await begin(sandbox, `echo running; cat > /dev/null; echo end > ${note}-polite`);
  polite.destroy();
  await untilGone('note-polite');
  t.is(readFileSync(`${note}-polite`, 'utf8'), 'end\n');

  // One that does not read hears SIGHUP.
  const deaf = await begin(
    sandbox,
    `trap 'echo hangup > ${note}-deaf; exit' HUP; echo running; while :; do sleep 0.1; done`,
  );
  deaf.destroy();
  await untilGone('note-deaf');
  t.is(readFileSync(`${note}-deaf`, 'utf8'), 'hangup\n');

  // One that ignores both, and what it has started, is killed.
  const stubborn = await begin(
    sandbox,
    `trap '' HUP; sleep 1010101 & echo running; while :; do sleep 1010101; done`,
  );
  t.not(processesWith('sleep 1010101').length, 0);
  stubborn.destroy();
  await untilGone('sleep 1010101');
  await untilGone('while :');

  // What one that has ended left behind without pipes goes with the client too.
  const parent = await begin(sandbox, `sleep 2020202 > /dev/null 2>&1 & echo running; cat`);
  parent.destroy();
  await untilGone('sleep 2020202');

  // A pod that ends takes its programs with it.
  await begin(sandbox, `trap '' HUP TERM; echo running; exec sleep 3030303`);
  await sandbox.post('/v1/delete', {
    objects: [{ kind: 'Pod', namespace: 'default', name: 'client' }],
  });
  await untilGone('sleep 3030303');
  t.pass();
});
