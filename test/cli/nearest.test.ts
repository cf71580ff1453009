import test from 'ava';
import { nearest } from '../../cli/nearest.ts';

const names = ['apply', 'delete', 'get', 'label', 'logs', 'status', 'scale', 'port-forward'];

const finds = test.macro({
  exec(t, word: string, expected: string | undefined) {
    t.is(nearest(word, names), expected);
  },
  title: (_, word: string, expected: string | undefined) =>
    `nearest() takes "${word}" for ${expected ?? 'nothing'}`,
});

test(finds, 'stauts', 'status');
test(finds, 'lable', 'label');
test(finds, 'gte', 'get');
test(finds, 'log', 'logs');
test(finds, 'del', 'delete');
test(finds, 'port', 'port-forward');
test(finds, 'aply', 'apply');
test(finds, 'xyz', undefined);
test(finds, 'explode', undefined);
test(finds, '', undefined);
