import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from './run-program.ts';
import { TemporaryFolder } from './temporary-folder.ts';

/** Where cli/preflight builds it. */
const PROGRAM = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'halo/h2spec-2.2.1',
);
/** Seconds that h2spec waits for an answer; it takes many answers for absent only after that. */
const TIMEOUT = 2;

export type ConformanceReport = Readonly<{
  passed: readonly string[];
  failed: readonly string[];
  skipped: readonly string[];
}>;

/**
 * Runs every case of h2spec, the strict ones too, against a server on loopback without TLS. Cases are named
 * `http2/6.9.1 the text of it`.
 *
 * @throws {Error} when it cannot be run.
 */
export async function runH2spec(port: number): Promise<ConformanceReport> {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'report.xml');
  const args = ['-S', '-h', '127.0.0.1', '-p', `${port}`, '-o', `${TIMEOUT}`, '-j', path];
  await runProgram(PROGRAM, args).catch((cause: unknown) => {
    throw new Error(`Cannot run ${PROGRAM}: run cli/preflight test`, { cause });
  });
  return readReport(readFileSync(path, 'utf8'));
}

/** What `-j` writes: an empty element for a case that passed, else why it did not in it. */
function readReport(xml: string): ConformanceReport {
  const found = { passed: [] as string[], failed: [] as string[], skipped: [] as string[] };
  const cases = /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs;
  for (const [, section = '', text = '', inside = ''] of xml.matchAll(cases)) {
    const outcome = /<(failure|error)>/.test(inside)
      ? 'failed'
      : inside.includes('<skipped>')
        ? 'skipped'
        : 'passed';
    found[outcome].push(`${section} ${text.replaceAll('&#34;', '"')}`);
  }
  return found;
}
