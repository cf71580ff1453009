import test from 'ava';
import { MeshError } from '../../../base/errors.ts';
import { RefusedError, refusalStatus } from '../../../mesh/proxy/refused-error.ts';

test('a refusal has no stack, and other errors keep theirs', (t) => {
  const refusal = new RefusedError(401, 'denied by policy');
  t.notRegex(String(refusal.stack), /\n *at /);
  t.regex(String(new MeshError('ERR_CONNECT', 'upstream', 'Cannot connect').stack), /\n *at /);
});

test('a tunnel is answered with the status of its refusal, or with what its cut says', (t) => {
  const { signal } = new AbortController();
  for (const status of [400, 401, 503] as const)
    t.is(refusalStatus(signal, new RefusedError(status, 'a reason')), status);
  t.is(refusalStatus(signal, new Error('anything')), 503);
  const cut = AbortSignal.abort(new RefusedError(401, 'a policy has changed'));
  t.is(refusalStatus(cut, new Error('anything')), 401);
});
