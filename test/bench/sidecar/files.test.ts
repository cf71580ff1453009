import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { makeCallGraph } from '../../../bench/ambient/call-graph.ts';
import { LATE, LOAD, PROBE } from '../../../bench/ambient/application.ts';
import { followFolder } from '../../../bench/sidecar/program/files.ts';
import { Targets } from '../../../bench/sidecar/program/targets.ts';
import { inboundRules, replaceFile } from '../../../bench/sidecar/sidecars.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

const fail = (error: unknown): never => {
  throw error;
};

test('a sidecar hears of each file that is there, and once of each that is replaced', async (t) => {
  using folder = new TemporaryFolder();
  const followed = join(folder.path, 'followed');
  mkdirSync(followed);
  replaceFile(join(followed, 'one.json'), '1');
  const heard: [string, unknown][] = [];
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const hear = (name: string, content: unknown): void => {
    heard.push([name, content]);
    if (name === 'last.json') resolve(undefined);
  };
  using _following = followFolder(followed, hear, fail);
  t.deepEqual(heard, [['one.json', 1]]);
  replaceFile(join(followed, 'one.json'), '2');
  replaceFile(join(followed, 'last.json'), '{}');
  await promise;
  t.deepEqual(heard.slice(1), [
    ['one.json', 2],
    ['last.json', {}],
  ]);
});

test('a file that is no JSON is no start', (t) => {
  using folder = new TemporaryFolder();
  const followed = join(folder.path, 'followed');
  mkdirSync(followed);
  replaceFile(join(followed, 'broken.json'), '{');
  const follow = (): Disposable => followFolder(followed, () => t.fail(), fail);
  t.throws(follow, { instanceOf: SyntaxError });
});

test('only callers of a service may call it, and the probe until it is denied', (t) => {
  const graph = makeCallGraph(4);
  const [front, middle] = graph.services;
  const before = inboundRules(graph, false);
  t.deepEqual(before.get(front?.name ?? ''), { allow: [LOAD, PROBE], deny: [] });
  t.deepEqual(before.get(middle?.name ?? '')?.allow, [...(middle?.callers ?? []), PROBE]);
  t.deepEqual(before.get(LATE), { allow: [LOAD], deny: [] });
  t.deepEqual(before.get(LOAD)?.allow, []);
  const after = inboundRules(graph, true);
  t.deepEqual([...after.keys()], [...before.keys()]);
  t.true([...after.values()].every(({ deny }) => deny.join() === PROBE));
});

test('a request finds its service by name, host and address, and nothing by another host', (t) => {
  const services = ['a', 'b'].map((name, index) => ({
    ...{ name, account: name, vip: `10.96.1.${index + 1}` },
  }));
  using targets = new Targets(services);
  const rule = targets.find('a.app.svc.cluster.local');
  t.not(rule, undefined);
  t.is(targets.find('a'), rule);
  t.is(targets.find('10.96.1.1'), rule);
  t.not(targets.find('b'), rule);
  t.is(targets.find('elsewhere.example'), undefined);
  if (rule === undefined) return;
  t.is(targets.backend(rule).name, 'outbound|80||a.app.svc.cluster.local');
  t.throws(() => targets.backend({ ...rule }), { message: /leads nowhere/ });
});
