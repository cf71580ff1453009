import test from 'ava';
import fc from 'fast-check';
import type { PathNormalization } from '../../mesh/model/path-normalization.ts';
import { normalizePath } from '../../waypoint/normalize-path.ts';

const ALL: readonly PathNormalization[] = [
  ...(['STRICT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const),
];

const becomes = test.macro({
  exec(t, how: PathNormalization, target: string, expected: string) {
    const result = normalizePath(target, how);
    t.is(result.kind === 'path' ? result.target : `refused: ${result.fault}`, expected);
  },
  title: (_ = '', how: PathNormalization, target: string, expected: string) =>
    `${how} makes ${JSON.stringify(target)} ${expected}`,
});

// STRICT: what policy decides on is what goes on.
for (const [target, expected] of [
  ['/', '/'],
  ['*', '*'],
  ['/a/b?c=/../d//', '/a/b?c=/../d//'],
  ['//admin', '/admin'], // A1
  ['/a///b', '/a/b'],
  ['/a/../b', '/b'],
  ['/a/..', '/'],
  ['/a/b/.', '/a/b/'],
  ['/../../admin', '/admin'],
  ['/%2e%2E/admin', '/admin'], // A3
  ['/x/%2e%2e/admin', '/admin'],
  ['/%61dmin', '/admin'],
  ['/a%2db%7E', '/a-b~'],
  ['/caf%C3%A9', '/caf%c3%a9'],
  ['/a%3Bb', '/a%3bb'],
  // Decoded once only: both sides see the text with the percent sign.
  ['/%2561dmin', '/%2561dmin'],
  ['/%252e%252e/admin', '/%252e%252e/admin'],
  ['/%252Fadmin', '/%252Fadmin'],
  ['/a;x=1/b', '/a;x=1/b'],
  ['/.well-known/x', '/.well-known/x'],
  ['/..a/...', '/..a/...'],
] as const)
  test('', becomes, 'STRICT', target, expected);

const REFUSED = [
  ['/%2Fadmin', 'encoded slash or backslash'], // A1
  ['/%2fadmin', 'encoded slash or backslash'],
  ['/%5Cadmin', 'encoded slash or backslash'],
  ['/..%5c..%5cadmin', 'encoded slash or backslash'],
  ['/\\admin', 'character that must be encoded'], // A1
  ['/admin#x', 'fragment'], // A2
  ['/a?b#c', 'fragment'],
  ['/admin/..;/x', 'dot segment with parameters'], // A3
  ['/admin/%2e%2e;x/y', 'dot segment with parameters'],
  ['/.;/admin', 'dot segment with parameters'],
  ['/..%3Bx/admin', 'dot segment with parameters'],
  ['/admin%00.html', 'encoded NUL'],
  ['/%c0%afadmin', 'overlong UTF-8'],
  ['/%C0%AE%C0%AE/admin', 'overlong UTF-8'],
  ['/%e0%80%afadmin', 'overlong UTF-8'],
  ['/%f0%80%80%afadmin', 'overlong UTF-8'],
  ['/a%', 'broken percent-encoding'],
  ['/a%2', 'broken percent-encoding'],
  ['/a%zz', 'broken percent-encoding'],
  ['/a b', 'character that must be encoded'],
  ['/a\u00e9', 'character that must be encoded'],
  ['/a\0b', 'character that must be encoded'],
  ['/a?b c', 'character that must be encoded'],
  ['admin', 'no leading slash'],
  ['', 'no leading slash'],
] as const;
for (const [target, fault] of REFUSED) test('', becomes, 'STRICT', target, `refused: ${fault}`);

for (const [how, target, expected] of [
  ['NONE', '/a//../%2e/%2F\\b', '/a//../%2e/%2F\\b'],
  ['BASE', '/a//b/../%61\\c', '/a//a/c'],
  ['BASE', '/x//../%2e%2e/b%2Fc', '/b%2fc'],
  ['MERGE_SLASHES', '//a//b/../%61', '/a/a'],
  ['MERGE_SLASHES', '/a%2Fb', '/a%2fb'],
  ['DECODE_AND_MERGE_SLASHES', '/a%2F%5c\\b/..//c', '/a/c'],
  ['DECODE_AND_MERGE_SLASHES', '/a%2F..%2Fadmin', '/admin'],
  ['BASE', '/x%/..//%61dmin', 'refused: broken percent-encoding'],
  ['MERGE_SLASHES', '/%%61b', 'refused: broken percent-encoding'],
  ['NONE', '/a%zz', '/a%zz'],
] as const)
  test('', becomes, how, target, expected);

for (const how of ALL)
  test(`${how} refuses a fragment (A2)`, (t) => {
    t.deepEqual(normalizePath('/admin#x', how), { kind: 'refused', fault: 'fragment' });
  });

test('a letter that is encoded is no way around a policy, even where the path goes on as it came', (t) => {
  t.deepEqual(normalizePath('/%61dmin?x=%61', 'NONE'), {
    ...{ kind: 'path', path: '/admin', query: '?x=%61' },
    target: '/%61dmin?x=%61',
  });
});

/** Texts that are mostly made of what matters. */
const targets = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...['/', '//', '.', '..', '%2e', '%2E%2e', '%2f', '%5C', '\\', ';', '?', 'a', 'B'],
        ...['%61', '%25', '%252e', '%00', '%c0%af', '%', '%zz', '*', '{', '|', '~', '%7e'],
      ),
      fc.string({ maxLength: 3 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => `/${parts.join('')}`);

for (const how of ALL)
  test(`${how} has nothing left to do with its own result`, (t) => {
    fc.assert(
      fc.property(targets, (target) => {
        const once = normalizePath(target, how);
        if (once.kind === 'refused') return;
        const again = normalizePath(once.target, how);
        t.deepEqual(again, once);
      }),
      { numRuns: 3000 },
    );
  });

test('what STRICT lets through has no dot segment, empty segment, backslash or second reading', (t) => {
  fc.assert(
    fc.property(targets, (target) => {
      const result = normalizePath(target, 'STRICT');
      if (result.kind === 'refused') return;
      t.regex(result.path, /^\/[!-~]*$/);
      t.false(/\/\/|\/\.{1,2}(?:\/|;|$)|[\\#?"<>]|%(?:2f|5c|00|c0|c1)/i.test(result.path));
      // As a URL it is what it is.
      const url = new URL(`http://h${result.path}`);
      t.is(
        url.pathname,
        result.path
          .replaceAll('{', '%7B')
          .replaceAll('}', '%7D')
          .replaceAll('`', '%60')
          .replaceAll('^', '%5E')
          .replaceAll('|', url.pathname.includes('|') ? '|' : '%7C'),
      );
    }),
    { numRuns: 5000 },
  );
});

test('a plain target is not copied', (t) => {
  const target = '/api/v1/items?page=2';
  const result = normalizePath(target, 'STRICT');
  t.like(result, { kind: 'path', path: '/api/v1/items', query: '?page=2', target });
});
