import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CORPUS } from './engine.ts';
import { checkInput } from './oracle.ts';
import { TARGETS } from './targets.ts';

for (const [name, target] of TARGETS) {
  const folder = join(CORPUS, name);
  const files = existsSync(folder) ? readdirSync(folder) : [];
  test(`the ${name} target holds for what was written or found for it`, (t) => {
    t.true(files.length > 0, 'it has a seed');
    for (const file of files)
      t.notThrows(() => {
        checkInput(target, readFileSync(join(folder, file)));
      }, file);
    for (const input of [Buffer.alloc(0), Buffer.alloc(target.maxBytes, 0x30)])
      t.notThrows(() => {
        checkInput(target, input);
      }, `${input.length} bytes`);
  });
}

test('every folder of the corpus is of a target', (t) => {
  t.deepEqual(readdirSync(CORPUS).sort(), [...TARGETS.keys()].sort());
});
