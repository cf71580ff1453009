import test from 'ava';
import { describeError, MeshError } from '../../base/errors.ts';

test('describeError() appends the causes to the message', (t) => {
  const root = new Error('ECONNREFUSED');
  const error = new MeshError('ERR_UPSTREAM_CONNECT', 'upstream', 'Cannot connect', {
    cause: root,
  });
  t.is(describeError(error), 'Cannot connect: ECONNREFUSED');
  t.is(describeError('text'), 'text');
  t.is(error.code, 'ERR_UPSTREAM_CONNECT');
  t.is(error.side, 'upstream');
});
