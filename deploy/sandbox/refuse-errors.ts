import { MeshError } from '../../base/errors.ts';
import { formatProblem } from '../../mesh/kubernetes/problem.ts';
import { readObjects } from '../../mesh/kubernetes/read.ts';
import type { ApplyRequest } from './api.ts';

/**
 * Refuses documents in which an object is wrong, by the rules of the control plane that will read it.
 *
 * @returns warnings, a line each.
 * @throws {MeshError} ERR_MANIFEST with every error and its place.
 */
export function refuseErrors(documents: ApplyRequest['documents']): string[] {
  const problems = documents.flatMap(({ source, text }) => readObjects(text, source).problems);
  const errors = problems.filter(({ severity }) => severity === 'error').map(formatProblem);
  if (errors.length > 0) {
    const message = `Cannot apply: nothing was changed, because of\n${errors.join('\n')}`;
    throw new MeshError('ERR_MANIFEST', 'local', message);
  }
  return problems.map(formatProblem);
}
