import type { HttpBackend, HttpRule } from '../../mesh/model/http-route.ts';
import { chooseWeighted } from '../../mesh/model/weighted-choice.ts';

/**
 * The backend of one request. One that cannot be used keeps its share, so that part is answered with an error.
 *
 * @param random from 0 to below 1.
 * @returns `undefined` when the rule has none, or none with a weight: 500.
 */
export function chooseBackend(rule: HttpRule, random: number): HttpBackend | undefined {
  return chooseWeighted(rule.backends, weightOf, random);
}

function weightOf({ weight }: HttpBackend): number {
  return weight;
}
