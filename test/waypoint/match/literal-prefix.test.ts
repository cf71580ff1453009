import test from 'ava';
import { Regex } from '../../../mesh/model/regex.ts';
import { literalPrefix } from '../../../waypoint/match/literal-prefix.ts';

const prefixes = test.macro({
  exec(t, pattern: string, expected: string, matched: string) {
    t.true(new Regex(pattern).matches(matched), 'it is a match at all');
    t.is(literalPrefix(pattern), expected);
    t.true(matched.startsWith(expected));
  },
  title: (_, pattern: string, expected: string) => `${pattern} begins with "${expected}"`,
});

test(prefixes, '/item/[0-9]+', '/item/', '/item/1');
test(prefixes, '^/item/.*', '/item/', '/item/');
test(prefixes, '/items?', '/item', '/item');
test(prefixes, '/a{0}b', '/', '/b');
test(prefixes, '/a*', '/', '/');
test(prefixes, 'a*', '', '');
test(prefixes, '^*a', '', 'a');
test(prefixes, '/a|b', '', 'b');
test(prefixes, '/a/(b|c)', '/a/', '/a/c');
test(prefixes, '/a/[(|]|b', '', 'b');
test(prefixes, '/a/[]|]|b', '', 'b');
test(prefixes, '/a/[](]|b', '', 'b');
test(prefixes, '/a/[^]|]c|b', '', 'b');
test(prefixes, '/a/[[:alpha:]|]', '/a/', '/a/|');
test(prefixes, '/a/[[(]|b', '', 'b');
test(prefixes, '/a/[\\]|]', '/a/', '/a/|');
test(prefixes, '/a\\||b', '', 'b');
test(prefixes, '/a\\(|b', '', 'b');
test(prefixes, '/a\\|b', '/a', '/a|b');
test(prefixes, '/a\\Q(\\E|b', '', 'b');
test(prefixes, '(?i)/A', '', '/a');
test(prefixes, '/a(?i)b', '/a', '/aB');
test(prefixes, '/é', '/', '/\xc3\xa9');
test(prefixes, '', '', '');
