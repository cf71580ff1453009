import test from 'ava';
import { rewritePath } from '../../../mesh/model/path-rewrite.ts';

// The table of the Gateway API's HTTPPathModifier: request, prefix that matched, replacement, result.
const replacements = [
  ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
  ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
  ['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
  ['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
  ['/foo', '/foo', '/xyz', '/xyz'],
  ['/foo/', '/foo', '/xyz', '/xyz/'],
  ['/foo/bar', '/foo', '', '/bar'],
  ['/foo/', '/foo', '', '/'],
  ['/foo', '/foo', '', '/'],
  ['/foo/', '/foo', '/', '/'],
  ['/foo', '/foo', '/', '/'],
  ['/foo/bar', '/', '/xyz', '/xyz/foo/bar'],
  ['/foo', '/foo', 'xyz', '/xyz'],
] as const;
for (const [path, prefix, replacement, expected] of replacements)
  test(`rewritePath() turns ${path} with ${prefix} replaced by "${replacement}" into ${expected}`, (t) => {
    t.is(rewritePath({ kind: 'prefix', replacement }, path, prefix), expected);
  });

for (const [name, rewrite, path, prefix, expected] of [
  ['a prefix', { kind: 'prefix', replacement: '/' }, '/prefix/one/two', '/prefix/one', '/two'],
  [
    'a stripped prefix',
    { kind: 'prefix', replacement: '/' },
    '/strip-prefix/three',
    '/strip-prefix',
    '/three',
  ],
  ['a full path', { kind: 'full', path: '/one' }, '/full/one/two', '/full/one', '/one'],
  ['a full path that is empty', { kind: 'full', path: '' }, '/full', '/full', '/'],
] as const)
  test(`MeshHTTPRouteRewritePath: rewritePath() replaces ${name}`, (t) => {
    t.is(rewritePath(rewrite, path, prefix), expected);
  });

for (const [path, prefix, replacement, expected] of [
  ['/foobar', '/foo', '/x', '/xbar'],
  ['/foo/bar', '/foo/', '/x', '/xbar'],
  ['/foo/bar', '/', '/v1', '/v1foo/bar'],
  ['/foo', '/foo', '', '/'],
] as const)
  test(`rewritePath() turns ${path} with the characters ${prefix} replaced by "${replacement}" into ${expected}`, (t) => {
    t.is(rewritePath({ kind: 'text-prefix', replacement }, path, prefix), expected);
  });
