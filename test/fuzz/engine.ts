import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { compileToCommonJs } from './compile.ts';

export type FuzzRun = Readonly<{
  executions: number;
  /** Edges of the instrumented code that inputs reached. */
  coverage: number;
  /** An input that its target's check threw for. */
  finding?: Buffer;
  /** What libFuzzer and jazzer.js wrote. */
  log: string;
}>;

export const ROOT = join(import.meta.dirname, '../..');
/** Files whose names begin with `seed-` were written by hand, the others were found. */
export const CORPUS = join(import.meta.dirname, 'corpus');
/** What runs learn; it is worth keeping between them, but not in the repository. */
const LEARNT = join(ROOT, 'node_modules/.cache/fuzz');

const JAZZER = join(ROOT, 'node_modules/@jazzer.js/core/dist/cli.js');
/** Parsers of others that ours stand on; what they branch on guides as well. */
const INSTRUMENTED_PACKAGES = ['node_modules/yaml/', 'node_modules/@bufbuild/protobuf/'];

/**
 * Fuzzes one target, guided by coverage.
 *
 * @param options.learn whether to go on from what earlier runs learnt, and to add to it.
 * @throws when the fuzzer could not run.
 */
export async function fuzzTarget(
  name: string,
  options: Readonly<{ seconds: number; maxBytes: number; learn: boolean }>,
): Promise<FuzzRun> {
  using folder = new TemporaryFolder();
  const modules = ['test/fuzz/fuzz-function', `test/fuzz/targets/${name}`];
  compileToCommonJs(
    ROOT,
    modules.map((path) => `${path}.ts`),
    folder.path,
  );
  const entry = join(folder.path, 'entry.js');
  const [call = '', target = ''] = modules.map((path) => `require('./${path}.js')`);
  writeFileSync(entry, `exports.fuzz = ${call}.fuzzFunction(${target}.target);\n`);
  const findings = join(folder.path, 'findings');
  const learnt = options.learn ? join(LEARNT, name) : join(folder.path, 'learnt');
  for (const path of [findings, learnt]) mkdirSync(path, { recursive: true });
  const kept = join(CORPUS, name);
  const includes = [folder.path, ...INSTRUMENTED_PACKAGES].flatMap((path) => ['-i', path]);
  const { code, stdout, stderr } = await runProgram(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      `--import=${join(import.meta.dirname, 'older-libraries.ts')}`,
      ...[JAZZER, entry, '--sync', ...includes, '-e', 'node_modules/@babel/'],
      ...[learnt, ...(existsSync(kept) ? [kept] : []), '--'],
      `-max_total_time=${options.seconds}`,
      `-max_len=${options.maxBytes}`,
      `-artifact_prefix=${findings}/`,
      '-print_final_stats=1',
    ],
    { cwd: folder.path },
  );
  const log = stdout + stderr;
  const [found] = readdirSync(findings);
  if (code !== 0 && found === undefined)
    throw new Error(`Cannot fuzz ${name}: jazzer.js ended with ${code ?? 'a signal'}\n${log}`);
  return {
    executions: lastNumber(log, /^#(\d+)\t/gm),
    coverage: lastNumber(log, / cov: (\d+)/g),
    ...(found !== undefined && { finding: readFileSync(join(findings, found)) }),
    log,
  };
}

function lastNumber(log: string, pattern: RegExp): number {
  return Number([...log.matchAll(pattern)].at(-1)?.[1] ?? 0);
}
