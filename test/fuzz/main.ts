/** `npm run fuzz`: fuzzes parsers for as long as one likes, and keeps the inputs that break them as tests. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { CORPUS, fuzzTarget, ROOT } from './engine.ts';
import { TARGETS } from './targets.ts';

const HELP = `usage: npm run fuzz [-- TARGET...] [-- --seconds N]

Fuzzes each target for N seconds (60), guided by coverage. An input that breaks a target is written to
test/fuzz/corpus/TARGET/, where the tests replay it ever after; the exit code is then 1.

targets (all without one): ${[...TARGETS.keys()].join(', ')}
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      seconds: { type: 'string', default: '60' },
    },
    allowPositionals: true,
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const seconds = Number(values.seconds);
  const unknown = positionals.filter((name) => !TARGETS.has(name));
  if (unknown.length > 0 || !Number.isInteger(seconds) || seconds < 1) {
    const found = unknown.length > 0 ? unknown.join(', ') : `--seconds ${values.seconds}`;
    process.stderr.write(`Cannot fuzz: found ${found}\n\n${HELP}`);
    return 2;
  }
  let broken = 0;
  for (const [name, { maxBytes }] of TARGETS) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const run = await fuzzTarget(name, { seconds, maxBytes, learn: true });
    const reached = `${run.executions} inputs, ${run.coverage} edges`;
    if (run.finding === undefined) {
      process.stdout.write(`${name}: nothing found (${reached})\n`);
      continue;
    }
    broken++;
    process.stdout.write(
      `${run.log}\n${name}: broken (${reached}), see ${keep(name, run.finding)}\n`,
    );
  }
  return broken === 0 ? 0 : 1;
}

function keep(name: string, input: Buffer): string {
  const folder = join(CORPUS, name);
  const digest = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const file = join(folder, `found-${digest}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, input);
  return relative(ROOT, file);
}
