import test from 'ava';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { parseYaml } from '../../../mesh/kubernetes/yaml.ts';
import type { JsonValue } from '../../../mesh/kubernetes/schema.ts';

const leaf = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom(
    'null',
    'true',
    '1.0',
    '1e3',
    '~',
    '<<',
    '- a',
    'a: b',
    '#',
    '|',
    '__proto__',
    ' ',
  ),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const { value } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    leaf,
    fc.array(tie('value'), { maxLength: 4 }),
    fc
      .dictionary(fc.string({ unit: 'grapheme-ascii', maxLength: 8 }), tie('value'), { maxKeys: 4 })
      .filter((entries) => !Object.hasOwn(entries, '<<')),
  ),
}));

/** As text, so that an object without a prototype is like any other. */
const textOf = (one: JsonValue | undefined): string => JSON.stringify(one ?? null);

for (const [form, write] of [
  ['JSON', (one: JsonValue): string => JSON.stringify(one)],
  ['YAML', (one: JsonValue): string => stringify(one, { defaultKeyType: 'QUOTE_DOUBLE' })],
] as const)
  test(`parseYaml() reads any value that was written as ${form}`, (t) => {
    fc.assert(
      fc.property(value, (one) => {
        const { documents, problems } = parseYaml(write(one), 'a.yaml');
        t.deepEqual(problems, []);
        t.is(textOf(documents[0]?.value), textOf(one));
      }),
      { numRuns: 500 },
    );
  });
