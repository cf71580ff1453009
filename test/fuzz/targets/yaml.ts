import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import type { ConfigProblem } from '../../../mesh/kubernetes/problem.ts';
import { readObjects } from '../../../mesh/kubernetes/read.ts';
import { parseYaml } from '../../../mesh/kubernetes/yaml.ts';
import { checkPrototypes, type Target } from '../oracle.ts';

const MAX_BYTES = 64 << 10;

function isTooLarge({ message }: ConfigProblem): boolean {
  return message.startsWith('the document is too large: more than ');
}

/** Nothing is thrown: a file is objects and problems, each with its place; its values are those of their JSON. */
export const target: Target = {
  maxBytes: MAX_BYTES,
  check(input) {
    const text = input.toString('utf8');
    const { objects, problems } = readObjects(text, 'fuzz.yaml');
    for (const { line, column } of problems) ok(line >= 1 && column >= 1);
    for (const { place } of objects) ok(place.line >= 1 && place.column >= 1);
    for (const { value } of parseYaml(text, 'fuzz.yaml').documents) {
      const json = JSON.stringify(value);
      // Aliases say much in few words. Written out it may be longer than any input, whose time is not what is measured here,
      // or more than one document may hold, and then it is refused for that alone.
      if (json.length > MAX_BYTES) continue;
      const again = parseYaml(json, 'again.yaml');
      if (json.length > text.length && again.problems.some(isTooLarge)) {
        strictEqual(again.problems.length, 1);
        continue;
      }
      deepStrictEqual(again.problems, []);
      if (value !== null) deepStrictEqual(again.documents[0]?.value, value);
    }
    checkPrototypes();
  },
};
