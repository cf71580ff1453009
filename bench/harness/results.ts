import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeError, MeshError } from '../../base/errors.ts';
import type { Environment } from './environment.ts';
import type { Row } from './rows.ts';

/** A run as it is kept. */
export type Results = Readonly<{
  benchmark: string;
  /** ISO 8601. */
  startedAt: string;
  /** Whether the machine was quiet when the run began; figures of a busy one prove nothing. */
  quiet: boolean;
  environment: Environment;
  /** How often, how long and which questions. */
  settings: Readonly<Record<string, unknown>>;
  rows: readonly Row[];
  /** Questions that could not be asked, and why. */
  failures: readonly Readonly<{ question: string; error: string }>[];
  /** Who is not compared with, in what and why: a line each. */
  notCompared?: readonly string[];
}>;

export function writeResults(path: string, results: Results): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
}

/** @throws {MeshError} ERR_BENCH_RESULTS when there is no file, or it holds something else. */
export function readResults(path: string): Results {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch (cause) {
    throw resultsError(path, describeError(cause));
  }
  if (typeof parsed !== 'object' || parsed === null || !('rows' in parsed))
    throw resultsError(path, 'found no rows');
  return parsed as Results;
}

function resultsError(path: string, found: string): MeshError {
  const message = `Cannot read the results of a run in ${path}: ${found}`;
  return new MeshError('ERR_BENCH_RESULTS', 'local', message);
}
