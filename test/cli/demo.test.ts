import { join } from 'node:path';
import test from 'ava';
import { HaloProgram } from '../support/halo-program.ts';
import { runProgram } from '../support/run-program.ts';

const root = join(import.meta.dirname, '../..');

test('npm run demo: all steps hold', async (t) => {
  t.timeout(180_000);
  const program = new HaloProgram('demo');
  const demo = join(root, 'cli/demo.ts');
  const { code, stdout, stderr } = await runProgram(process.execPath, [demo], {
    env: { ...process.env, ...program.env, PATH: process.env['PATH'] },
  });
  for (let step = 0; step <= 14; step++)
    t.regex(stdout, new RegExp(`^${step}\\. .+\n(?: {7}\\|.*\n)* {2}ok `, 'm'), stdout + stderr);
  t.notRegex(stdout, /^ {2}FAIL/m, stdout);
  t.regex(stdout, /^Every observation held/m);
  t.is(code, 0);
  await program.end();
});
