import test from 'ava';
import {
  MAX_REGEX_LENGTH,
  MAX_REGEX_PROGRAM,
  Regex,
  regexProblem,
} from '../../../mesh/model/regex.ts';

const wholeValues = test.macro({
  exec(t, pattern: string, matching: readonly string[], others: readonly string[]) {
    const regex = new Regex(pattern);
    for (const value of matching) t.true(regex.matches(value), value);
    for (const value of others) t.false(regex.matches(value), value);
  },
  title: (given = '', pattern: string) => `a pattern ${given}: ${pattern}`,
});

test('matches whole values only', wholeValues, '/v[0-9]+', ['/v1', '/v22'], ['/v', '/v1/', 'x/v1']);
test('takes the alternative that reaches the end', wholeValues, 'a|ab', ['a', 'ab'], ['b', 'abb']);
test('of nothing matches nothing else', wholeValues, '', [''], ['a']);
test('has RE2 classes and flags', wholeValues, '(?i)[[:alpha:]]+\\d', ['Ab1'], ['ab', '1']);
test('cannot end a value at a line', wholeValues, 'a$', ['a'], ['a\n', 'a\nb']);
test(
  'reads UTF-8',
  wholeValues,
  '/caf.',
  ['/cafe', '/caf\xc3\xa9'],
  ['/caf\xc3', '/caf\xe9', '/caf\xc3\xa9\xc3\xa9'],
);

test('what is no RE2 pattern is refused, in words', (t) => {
  for (const pattern of ['(a', '[z-a]', '*', 'a**', '(?=a)', '(?<!a)b', '(a)\\1', 'a{1001}', '\\'])
    t.throws(() => new Regex(pattern), { code: 'ERR_REGEX' }, pattern);
  t.regex(
    regexProblem('(a') ?? '',
    /^Cannot use "\(a" as a regular expression: .*missing closing \)/,
  );
  t.is(regexProblem('(a)'), undefined);
});

test('C2: patterns and their programs are bounded', (t) => {
  t.is(regexProblem('a'.repeat(MAX_REGEX_LENGTH)), undefined);
  t.regex(regexProblem('a'.repeat(MAX_REGEX_LENGTH + 1)) ?? '', /1025 characters, more than 1024/);
  t.regex(
    regexProblem('(a|b){900}') ?? '',
    new RegExp(`instructions, more than ${MAX_REGEX_PROGRAM}$`),
  );
});

/** A backtracking engine would need longer than anybody lives for each of the first four. */
const EVIL = [
  '(a+)+$',
  '(a|a)*b',
  '([a-z]+)*c',
  '(a?){40}a{40}',
  '(a|b)*a(a|b){14}c',
  '(.*a){20}c',
];

test('C2: patterns that make others backtrack are matched in bounded time', (t) => {
  for (const pattern of EVIL) {
    const regex = new Regex(pattern);
    const value = `${'ab'
      .repeat(regex.maxInputLength)
      .replaceAll('b', 'a')
      .slice(0, regex.maxInputLength - 1)}!`;
    const startMs = performance.now();
    t.false(regex.matches(value), pattern);
    const tookMs = performance.now() - startMs;
    t.true(tookMs < 2000, `${pattern}: ${tookMs.toFixed(0)} ms for ${value.length} characters`);
  }
});

test('C2: 100 KB are not even read', (t) => {
  const error = t.throws(() => new Regex('(a+)+$').matches(`${'a'.repeat(100 << 10)}!`), {
    code: 'ERR_REGEX_INPUT',
  });
  t.regex(error.message, /102401 characters, more than 65536/);
});

test('a pattern with a large program is matched against short values only', (t) => {
  const regex = new Regex('(.*a){300}c');
  t.true(regex.maxInputLength < 4096);
  t.false(regex.matches('a'.repeat(regex.maxInputLength)));
  t.throws(() => regex.matches('a'.repeat(regex.maxInputLength + 1)), { code: 'ERR_REGEX_INPUT' });
});
