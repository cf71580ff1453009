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

/** Changes without end, each made when the one before has gone through. @returns how long so many took, in ms. */
async function followEachOther(count: number, joinMs: number): Promise<number> {
  const all = Promise.withResolvers<undefined>();
  let passed = 0;
  const change = { upserts: objects('one'), removals: [] };
  using joiner = new ChangeJoiner(() => {
    passed++;
    if (passed === count) all.resolve(undefined);
    // In a turn of its own: within this one, the change is still going through.
    else
      setImmediate(() => {
        joiner.add(change);
      });
  }, joinMs);
  const beganMs = performance.now();
  joiner.add(change);
  await all.promise;
  return performance.now() - beganMs;
}

test('changes of one cause that follow each other wait a part of the time alone', async (t) => {
  const joinMs = 1000;
  // Five times a twentieth of it, and as much again sixteen times for a machine that is busy.
  t.true((await followEachOther(6, joinMs)) < 4 * joinMs);
});

test('where changes go on, no more go through than one in the time', async (t) => {
  const [count, burst, joinMs] = [50, 20, 20];
  t.true((await followEachOther(count, joinMs)) >= (count - burst - 1) * joinMs);
});
