import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parseCsr } from '../../certs/csr.ts';
import { CORPUS } from './engine.ts';
import { unlessRefused } from './oracle.ts';
import { REFUSED, requestOf } from './targets/csr.ts';

test('every request of the corpus that we accept is one that openssl verifies', (t) => {
  const folder = join(CORPUS, 'csr');
  let accepted = 0;
  for (const file of readdirSync(folder)) {
    const request = requestOf(readFileSync(join(folder, file)));
    if (unlessRefused(REFUSED, () => parseCsr(request)) === undefined) continue;
    accepted++;
    const form = typeof request === 'string' ? 'PEM' : 'DER';
    const args = ['req', '-inform', form, '-verify', '-noout'];
    t.notThrows(() => execFileSync('openssl', args, { input: request, stdio: 'pipe' }), file);
  }
  t.true(accepted >= 5, `${accepted} accepted`);
});
