import test from 'ava';
import { compileCache } from '../../../deploy/sandbox/compile-cache.ts';

test('compileCache() is one folder for all sandboxes of a user', (t) => {
  const env = { HOME: '/home/ann', XDG_CACHE_HOME: '/cache', NODE_COMPILE_CACHE: '/in/force' };
  t.is(compileCache('/state/one', env), '/in/force');
  t.is(compileCache('/state/one', { ...env, NODE_COMPILE_CACHE: '' }), '/cache/halo/node');
  t.is(compileCache('/state/one', { HOME: '/home/ann' }), '/home/ann/.cache/halo/node');
  t.is(
    compileCache('/state/one', { HOME: '/home/ann', XDG_CACHE_HOME: 'relative' }),
    '/home/ann/.cache/halo/node',
  );
});

test('compileCache() is inside the sandbox for a user without a home', (t) => {
  t.is(compileCache('/state/one', {}), '/state/one/compile-cache');
});
