import test from 'ava';
import { describeError, errorCode, MeshError } from '../../base/errors.ts';

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

test('describeError() says nothing of causes that are values', (t) => {
  const error = new Error('the token is old', { cause: { payload: { sub: 'somebody' } } });
  t.is(
    describeError(new Error('Cannot answer', { cause: error })),
    'Cannot answer: the token is old',
  );
  t.is(describeError(new Error('odd', { cause: null })), 'odd');
  t.is(describeError(new Error('odd', { cause: 'a text' })), 'odd: a text');
});

test('errorCode() finds the code of whatever was thrown', (t) => {
  t.is(errorCode(new MeshError('ERR_ABORTED', 'local', 'Cannot go on')), 'ERR_ABORTED');
  t.is(errorCode(Object.assign(new Error('no file'), { code: 'ENOENT' })), 'ENOENT');
  const without = [
    new Error('ENOENT'),
    Object.assign(new Error('odd'), { code: 2 }),
    'ENOENT',
    undefined,
  ];
  t.deepEqual(without.map(errorCode), [undefined, undefined, undefined, undefined]);
});
