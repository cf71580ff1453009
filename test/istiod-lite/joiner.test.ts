import test from 'ava';
import { ChangeJoiner } from '../../istiod-lite/joiner.ts';
import type { ChangeSet } from '../../istiod-lite/sources/source.ts';
import { readObjects } from '../../mesh/kubernetes/read.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';

function objects(...names: readonly string[]): KubernetesObject[] {
  const text = names.map(
    (name) => `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name} }\n`,
  );
  return readObjects(text.join('---\n'), 'a.yaml').objects.flatMap(({ object }) => object ?? []);
}

function named(changes: ChangeSet | undefined): string {
  const { upserts = [], removals = [] } = changes ?? {};
  return [
    ...upserts.map(({ ref }) => `+${ref.name}`),
    ...removals.map((key) => `-${key.split('/').at(-1) ?? ''}`),
  ].join();
}

test('the first change goes through at once, those that follow are joined, the last word of each object counts', async (t) => {
  const seen: ChangeSet[] = [];
  let wake = (): void => undefined;
  using joiner = new ChangeJoiner((changes) => {
    seen.push(changes);
    wake();
  }, 20);
  const [one] = objects('one');
  if (one === undefined) return t.fail();
  joiner.add({ upserts: [one], removals: [] });
  t.is(named(seen[0]), '+one');
  joiner.add({ upserts: objects('two'), removals: [] });
  joiner.add({ upserts: objects('three'), removals: [one.key] });
  joiner.add({ upserts: [], removals: objects('two').map(({ key }) => key) });
  t.is(seen.length, 1);
  await new Promise<void>((resolve) => {
    wake = resolve;
  });
  t.is(named(seen[1]), '+three,-two,-one');
});

test('flush() lets through what is waiting', async (t) => {
  const seen: ChangeSet[] = [];
  using joiner = new ChangeJoiner((changes) => {
    seen.push(changes);
  });
  await joiner.flush();
  joiner.add({ upserts: objects('one'), removals: [] });
  joiner.add({ upserts: objects('two'), removals: [] });
  await joiner.flush();
  t.deepEqual(seen.map(named), ['+one', '+two']);
});

test('a change waits until the one before has been taken, and flush() for both', async (t) => {
  const seen: string[] = [];
  const first = Promise.withResolvers<undefined>();
  using joiner = new ChangeJoiner(async (changes) => {
    seen.push(named(changes));
    if (seen.length === 1) await first.promise;
    seen.push('taken');
  }, 1);
  joiner.add({ upserts: objects('one'), removals: [] });
  joiner.add({ upserts: objects('two'), removals: [] });
  const flushed = joiner.flush();
  await new Promise((resolve) => setTimeout(resolve, 10)); // more than the time of joining
  t.deepEqual(seen, ['+one']);
  first.resolve(undefined);
  await flushed;
  t.deepEqual(seen, ['+one', 'taken', '+two', 'taken']);
});
