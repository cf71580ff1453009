import { execFileSync } from 'node:child_process';
import test from 'ava';
import {
  nodeMemory,
  processMemory,
  processorTimeUs,
  processTree,
  startedAtMs,
} from '../../bench/harness/processes.ts';
import { startChild, stopChild } from '../../bench/harness/child.ts';
import { OwnTime } from '../../bench/harness/own-time.ts';
import {
  busyPart,
  othersPart,
  parseProcessorTimes,
  watchOthers,
} from '../../bench/harness/machine-load.ts';

test("a process's time and memory are read from /proc", (t) => {
  const before = processorTimeUs([process.pid]);
  const own = process.cpuUsage();
  const endsMs = performance.now() + 100;
  while (performance.now() < endsMs);
  const spentUs = processorTimeUs([process.pid]) - before;
  const { user, system } = process.cpuUsage(own);
  t.true(Math.abs(spentUs - user - system) < 40_000, `${spentUs} us, not ${user + system}`);
  const { resident, privateDirty } = processMemory([process.pid]);
  t.true(privateDirty > 1e6 && resident > privateDirty);
  t.true(Math.abs(startedAtMs(process.pid) - (Date.now() - process.uptime() * 1000)) < 1000);
});

test('pages of a file count once for a node, and are not divided among those beside it', async (t) => {
  const children = [1, 2].map(() => startChild(['sh', '-c', 'echo started; read line']));
  for (const child of children) for await (const _line of child.stdout) break;
  const pids = children.map(({ pid }) => pid ?? 0);
  const [one, both] = [nodeMemory(pids.slice(0, 1)), nodeMemory(pids)];
  const resident = processMemory(pids.slice(0, 1)).resident;
  t.is(one.asOwnMachine, resident, 'alone, all that is resident is its own');
  t.true(both.asOwnMachine > one.asOwnMachine, 'what each has written counts for each');
  t.true(both.asOwnMachine < processMemory(pids).resident, 'the program counts once');
  t.true(one.proportional < one.asOwnMachine, 'the kernel divides it between both');
  for (const child of children) await stopChild(child);
});

test('a process that is not there has used nothing', (t) => {
  const nobody = [2 ** 22 + 1];
  t.is(processorTimeUs(nobody), 0);
  t.deepEqual(processMemory(nobody), { resident: 0, privateDirty: 0 });
});

test('a process tree holds children, and a stopped child has ended', async (t) => {
  const child = startChild(['sh', '-c', 'sleep 60 & echo started; wait']);
  for await (const _line of child.stdout) break;
  const tree = processTree(child.pid ?? 0);
  t.is(tree.length, 2);
  t.true(processTree(process.pid).includes(child.pid ?? 0));
  for (const pid of tree.slice(1)) process.kill(pid);
  await stopChild(child);
  t.true(child.exitCode !== null || child.signalCode !== null);
});

test('how busy a machine is comes from the first line of /proc/stat', (t) => {
  const before = parseProcessorTimes('cpu  100 0 100 700 100 0 0 10 5 5\ncpu0 1 1 1 1 1 1 1 1\n');
  const after = parseProcessorTimes('cpu  120 0 110 760 110 0 0 10 9 9\n');
  t.deepEqual(before, { idle: 800, working: 200, total: 1010 });
  t.true(Math.abs(busyPart(before, after) - 0.3) < 1e-9);
  t.is(busyPart(before, before), 0);
});

test('what we use ourselves is not taken for load by others', (t) => {
  const before = { idle: 800, working: 200, total: 1000 };
  const after = { idle: 900, working: 300, total: 1200 };
  t.is(othersPart(before, after, 60), 0.2);
  t.is(othersPart(before, after, 101), 0); // ticks are rounded
  t.is(othersPart(before, before, 0), 0);
});

test('what ended with its namespace is ours too', (t) => {
  using own = new OwnTime();
  // The shell is the first process of the namespace, and nobody waits for what it leaves.
  const script = 'while :; do :; done & sleep 0.5';
  execFileSync('unshare', ['--user', '--map-root-user', '--pid', '--fork', 'sh', '-c', script]);
  const ticks = own.ticks();
  if (own.isWhole) t.true(ticks >= 5 && ticks < 500, `${ticks} ticks`);
  else t.true(ticks >= 0, 'this user may make no control groups');
});

test('a watch over others answers with a part', (t) => {
  const { busy } = watchOthers()();
  t.true(busy >= 0 && busy <= 1);
});
