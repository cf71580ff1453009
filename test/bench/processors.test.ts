import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import test from 'ava';
import { startChild, stopChild } from '../../bench/harness/child.ts';
import { parseProcessorList, Processors, processorsOf } from '../../bench/harness/processors.ts';

test('lists of processors are read as the kernel writes them', (t) => {
  t.deepEqual(parseProcessorList('0'), [0]);
  t.deepEqual(parseProcessorList('0-2,7'), [0, 1, 2, 7]);
});

test('what is around who is measured begins on the other processors, where there are any', (t) => {
  t.deepEqual(new Processors([1, 2, 5]).forOthers(['a']), ['taskset', '--cpu-list', '1,2', 'a']);
  t.deepEqual(new Processors([3]).forOthers(['a']), ['taskset', '--cpu-list', '3', 'a']);
});

test('processes are divided, all their threads, and share again', async (t) => {
  const all = processorsOf('self');
  const processors = new Processors();
  const script = `const { Worker } = require('node:worker_threads');
new Worker('setInterval(() => {}, 1000)', { eval: true }).once('online', () => console.log('up'));`;
  const children = [script, script].map((text) => startChild([process.execPath, '-e', text]));
  t.teardown(() => Promise.all(children.map(stopChild)));
  await Promise.all(children.map(({ stdout }) => once(stdout, 'data')));
  const [measured = 0, other = 0] = children.map(({ pid }) => pid ?? 0);
  await processors.divide([measured], [other]);
  const threads = readdirSync(`/proc/${measured}/task`).map(Number);
  t.true(threads.length > 1);
  for (const thread of threads) t.deepEqual(processorsOf(thread), all.slice(-1));
  t.deepEqual(processorsOf(other), all.length > 1 ? all.slice(0, -1) : all);
  await processors.share([measured, other]);
  t.deepEqual(processorsOf(measured), all);
});
