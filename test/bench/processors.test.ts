import { execFileSync } from 'node:child_process';
import test from 'ava';
import { parseProcessorList, Processors } from '../../bench/harness/processors.ts';

test('lists of processors are read as the kernel writes them', (t) => {
  t.deepEqual(parseProcessorList('0'), [0]);
  t.deepEqual(parseProcessorList('0-2,7'), [0, 1, 2, 7]);
});

test('who is measured has a processor alone, where there are two', (t) => {
  const processors = new Processors([1, 2, 5]);
  t.deepEqual(processors.forMeasured(['a', 'b']), ['taskset', '--cpu-list', '5', 'a', 'b']);
  t.deepEqual(processors.forOthers(['a']), ['taskset', '--cpu-list', '1,2', 'a']);
  const one = new Processors([3]);
  t.deepEqual(one.forOthers(['a']), one.forMeasured(['a']));
});

test('a command runs on the processors that it was given, of those that we may use', (t) => {
  const [program = '', ...args] = new Processors().forMeasured(['cat', '/proc/self/status']);
  const status = execFileSync(program, args, { encoding: 'utf8' });
  t.regex(status, /^Cpus_allowed_list:\t\d+$/m);
});
