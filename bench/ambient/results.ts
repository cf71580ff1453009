import { MeshError } from '../../base/errors.ts';
import { readResults, type Results } from '../harness/results.ts';
import type { Plan } from './plans.ts';
import type { ModeSample } from './rows.ts';

/** What a comparison gives: rows, and every measurement that they come from. */
export type AmbientOutcome = Pick<Results, 'rows' | 'failures'> &
  Readonly<{ samples: readonly ModeSample[] }>;

/** A run as it is kept. */
export type AmbientResults = Results & AmbientOutcome & Readonly<{ settings: Plan }>;

/** @throws {MeshError} ERR_BENCH_RESULTS when there is no file, or it holds something else. */
export function readAmbientResults(path: string): AmbientResults {
  const results = readResults(path);
  if ('samples' in results) return results as AmbientResults;
  const message = `Cannot read ${path}: it is no run of "ambient"`;
  throw new MeshError('ERR_BENCH_RESULTS', 'local', message);
}
