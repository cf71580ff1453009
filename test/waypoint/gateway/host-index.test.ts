import test from 'ava';
import { HostIndex } from '../../../waypoint/gateway/host-index.ts';

const index = new HostIndex([
  ['a.example.com', 'exact'],
  ['*.example.com', 'wildcard'],
  ['*.b.example.com', 'longer wildcard'],
  ['', 'any'],
]);

test('HostIndex.get() finds the name itself, then the longest wildcard, then what is for all names', (t) => {
  t.is(index.get('a.example.com'), 'exact');
  t.is(index.get('c.example.com'), 'wildcard');
  t.is(index.get('c.a.example.com'), 'wildcard');
  t.is(index.get('c.b.example.com'), 'longer wildcard');
  t.is(index.get('b.example.com'), 'wildcard');
  t.is(index.get('example.com'), 'any');
  t.is(index.get('aexample.com'), 'any');
});

test('HostIndex.get() takes no empty label for what a wildcard stands for', (t) => {
  t.is(index.get('.example.com'), 'any');
});

test('HostIndex.get() knows no value where no pattern means the name', (t) => {
  const few = new HostIndex([['*.example.com', 'wildcard']]);
  t.is(few.get('example.org'), undefined);
  t.is(few.get(''), undefined);
});

test('HostIndex.first() asks the next pattern where one has no answer', (t) => {
  const asked: string[] = [];
  const answer = index.first('c.b.example.com', (value) => {
    asked.push(value);
    return value === 'any' ? 'found' : undefined;
  });
  t.is(answer, 'found');
  t.deepEqual(asked, ['longer wildcard', 'wildcard', 'any']);
});

test('a host name that no name can be costs nothing to look for', (t) => {
  const long = `${'a.'.repeat(30_000)}example.com`;
  const began = performance.now();
  for (let round = 0; round < 100; round++) t.is(index.get(long), 'any');
  t.true(performance.now() - began < 1000);
});
