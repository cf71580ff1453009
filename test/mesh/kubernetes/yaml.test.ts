import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { isJsonObject } from '../../../mesh/kubernetes/schema.ts';
import { parseYaml, YAML_LIMITS } from '../../../mesh/kubernetes/yaml.ts';

const small = { ...YAML_LIMITS, documents: 3 };

function refusal(text: string, limits = YAML_LIMITS): string {
  return parseYaml(text, 'a.yaml', limits)
    .problems.map(({ line, message }) => `${line}: ${message}`)
    .join('\n');
}

test('parseYaml() reads many documents and keeps the places of their fields', (t) => {
  const text = '# head\na: 1\n---\n---\nb:\n  - c: x\n  - d: "y"\n';
  const { documents, problems } = parseYaml(text, 'a.yaml');
  t.deepEqual(problems, []);
  t.is(
    JSON.stringify(documents.map(({ value }) => value)),
    '[{"a":1},{"b":[{"c":"x"},{"d":"y"}]}]',
  );
  t.deepEqual(documents[1]?.locate(['b', 1, 'd']), { line: 7, column: 5 });
  t.deepEqual(documents[1]?.locate(['b', 0, 'missing']), { line: 6, column: 5 });
});

test('parseYaml() follows aliases within its budget', (t) => {
  const { documents } = parseYaml('a: &x [1, 2]\nb: *x\n', 'a.yaml');
  t.is(JSON.stringify(documents[0]?.value), '{"a":[1,2],"b":[1,2]}');
});

test('C9: parseYaml() takes __proto__ and constructor for keys like any other', (t) => {
  const { documents } = parseYaml('__proto__: {polluted: true}\nconstructor: 1\n', 'a.yaml');
  const value = documents[0]?.value ?? null;
  t.true(isJsonObject(value));
  if (isJsonObject(value)) t.deepEqual(Object.keys(value), ['__proto__', 'constructor']);
  t.is(Reflect.get({}, 'polluted'), undefined);
});

test('C1: parseYaml() refuses duplicate keys, merge keys, tags, and keys that are no text', (t) => {
  t.is(refusal('a: 1\nb: 2\na: 3\n'), '3: the document has the key "a" twice');
  t.is(
    refusal('a: &x {b: 1}\nc:\n  <<: *x\n'),
    '3: the document has a merge key (<<), which is not allowed',
  );
  t.regex(refusal('a: !!js/function "x"\n'), /has a tag, which is not allowed/);
  t.regex(refusal('a: !custom x\n'), /has a tag/);
  t.is(refusal('1: x\n'), '1: the document has a key that is no text');
  t.regex(refusal('a: .inf\n'), /JSON does not have/);
  t.is(refusal('a: *nowhere\n').split('\n').length, 1);
});

test('parseYaml() names the line of a syntax error and still reads the documents around it', (t) => {
  const { documents, problems } = parseYaml('a: 1\n---\nb: [1\n---\nc: 3\n', 'a.yaml');
  t.is(problems.length, 1);
  t.true((problems[0]?.line ?? 0) >= 3);
  t.deepEqual(JSON.stringify(documents[0]?.value), '{"a":1}');
});

test('parseYaml() refuses too many documents and too large a file', (t) => {
  t.regex(refusal('a: 1\n---\n'.repeat(5), small), /more than 3 documents/);
  t.regex(refusal('a'.repeat(100), { ...YAML_LIMITS, fileBytes: 99 }), /too large: found 100/);
});

const bomb = [
  'a0: &a0 [x, x, x, x, x, x, x, x, x, x]',
  ...Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(10)}]`),
].join('\n');

const hostile: readonly (readonly [string, string])[] = [
  ['an alias bomb', bomb],
  ['an anchor that holds itself', 'a: &a [*a, *a, *a, *a]\n'],
  ['100,000 opened lists', '['.repeat(100_000)],
  ['100,000 opened maps', '{'.repeat(100_000)],
  ['a deep block sequence', '- '.repeat(100_000)],
  ['a deep block map', Array.from({ length: 1_000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
  ['100,000 explicit keys', '? '.repeat(100_000)],
  ['a million keys', Array.from({ length: 1_000_000 }, (_, i) => `k${i}: 1`).join('\n')],
  ['a file of 100 MB', ' '.repeat(100_000_000)],
];

for (const [name, text] of hostile)
  test.serial(`C1: parseYaml() refuses ${name} within 50 ms`, (t) => {
    // Of this thread's own time, the best of some: the machine runs other tests as well, and the first runs compile.
    const times = Array.from({ length: 6 }, () => {
      const before = process.threadCpuUsage();
      t.not(refusal(text), '');
      const { user, system } = process.threadCpuUsage(before);
      return (user + system) / 1000;
    });
    const fastest = Math.min(...times);
    t.log(times.map((ms) => ms.toFixed(1)).join(' '));
    t.true(fastest < 50, `took ${fastest.toFixed(1)} ms`);
  });

/** What the program and the YAML package take by themselves, and 32 MiB. */
const THREAD_MB = 16 + 32;

for (const [name, text] of hostile.filter(([, { length }]) => length < 50_000_000))
  test.serial(`C1: ${name} is refused by a thread that has 32 MiB for it`, async (t) => {
    const worker = new Worker(join(import.meta.dirname, 'yaml-memory-program.ts'), {
      workerData: text,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MB, maxYoungGenerationSizeMb: 4 },
    });
    // A thread without memory ends with an error, which once() throws.
    const [problems] = (await once(worker, 'message')) as [number];
    t.true(problems > 0);
    await worker.terminate();
  });
