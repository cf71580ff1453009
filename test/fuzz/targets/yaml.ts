import { deepStrictEqual, ok } from 'node:assert';
import { readObjects } from '../../../mesh/kubernetes/read.ts';
import { parseYaml } from '../../../mesh/kubernetes/yaml.ts';
import { checkPrototypes, type Target } from '../oracle.ts';

/** Nothing is thrown: a file is objects and problems, each with its place; its values are those of their JSON. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const text = input.toString('utf8');
    const { objects, problems } = readObjects(text, 'fuzz.yaml');
    for (const { line, column } of problems) ok(line >= 1 && column >= 1);
    for (const { place } of objects) ok(place.line >= 1 && place.column >= 1);
    for (const { value } of parseYaml(text, 'fuzz.yaml').documents) {
      const again = parseYaml(JSON.stringify(value), 'again.yaml');
      deepStrictEqual(again.problems, []);
      if (value !== null) deepStrictEqual(again.documents[0]?.value, value);
    }
    checkPrototypes();
  },
};
