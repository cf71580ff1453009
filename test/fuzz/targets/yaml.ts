import { deepStrictEqual, ok } from 'node:assert';
import { readObjects } from '../../../mesh/kubernetes/read.ts';
import { parseYaml } from '../../../mesh/kubernetes/yaml.ts';
import { checkPrototypes, type Target } from '../oracle.ts';

/** Of all documents of an input: to read back more takes longer than a check may, 2 to 5 us a token. */
const READ_BACK_BYTES = 8 << 10;

/** Nothing is thrown: a file is objects and problems, each with its place; its values are those of their JSON. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const text = input.toString('utf8');
    const { objects, problems } = readObjects(text, 'fuzz.yaml');
    for (const { line, column } of problems) ok(line >= 1 && column >= 1);
    for (const { place } of objects) ok(place.line >= 1 && place.column >= 1);
    let bytesLeft = READ_BACK_BYTES;
    for (const { value } of parseYaml(text, 'fuzz.yaml').documents) {
      const json = JSON.stringify(value);
      // Aliases say much in few words: written out they may be longer than any input, and their time is not what is measured here.
      bytesLeft -= json.length;
      if (bytesLeft < 0) break;
      const again = parseYaml(json, 'again.yaml');
      deepStrictEqual(again.problems, []);
      if (value !== null) deepStrictEqual(again.documents[0]?.value, value);
    }
    checkPrototypes();
  },
};
