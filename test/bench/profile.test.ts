import test from 'ava';
import { formatProfile, functionTimes, type CpuProfile } from '../../bench/harness/profile.ts';

test('a profile tells the time in each function itself, idle time left out', (t) => {
  const frame = (functionName: string, lineNumber: number) => ({
    callFrame: { functionName, url: lineNumber < 0 ? '' : 'node:net', lineNumber },
  });
  const nodes: CpuProfile['nodes'] = [
    { id: 1, ...frame('(idle)', -1) },
    { id: 2, ...frame('read', 9) },
    { id: 3, ...frame('write', 19) },
    { id: 4, ...frame('read', 9) },
    { id: 5, ...frame('epollWait', 29) },
  ];
  const samples = [1, 2, 3, 4, 3, 2, 5];
  const times = functionTimes({
    nodes,
    samples,
    timeDeltas: [9000, 1000, 500, 1000, 500, 1000, 8000],
  });
  t.deepEqual(times, [
    { name: 'read', where: 'node:net:10', ms: 3, share: 0.75 },
    { name: 'write', where: 'node:net:20', ms: 1, share: 0.25 },
  ]);
  t.is(formatProfile(times, 1).split('\n')[1], '75.0 %  3 ms  read      node:net:10');
});
