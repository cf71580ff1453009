import test from 'ava';
import { DataThreads } from '../../../mesh/runtime/data-threads.ts';
import type { TestControlCalls, TestThreadCalls } from './fixtures/data-thread-entry.ts';

type TestThreads = DataThreads<TestControlCalls, TestThreadCalls>;

function startThreads(count: number): {
  threads: TestThreads;
  stopped: number[];
  crashes: Promise<{ index: number; error: Error }>;
} {
  const stopped: number[] = [];
  const crashed = Promise.withResolvers<{ index: number; error: Error }>();
  const threads = new DataThreads<TestControlCalls, TestThreadCalls>({
    count,
    entry: new URL('fixtures/data-thread-entry.ts', import.meta.url),
    settings: 'thread',
    handlers: () => ({
      double: (value) => value * 2,
      stopped: (index) => {
        stopped.push(index);
        return null;
      },
    }),
    onCrash: (index, error) => {
      crashed.resolve({ index, error });
    },
    onNotifyError: (error) => {
      throw error;
    },
  });
  return { threads, stopped, crashes: crashed.promise };
}

test('threads answer calls, and call back while they do', async (t) => {
  const { threads } = startThreads(2);
  await using _running = threads;
  t.deepEqual(await threads.callAll('add', [1, 2, 3]), [12, 12]);
  t.deepEqual(await threads.callAll('identify', null), ['thread 0', 'thread 1']);
});

test("a handler's error keeps its code and side on the way to the caller", async (t) => {
  const { threads } = startThreads(1);
  await using _running = threads;
  const error = await t.throwsAsync(threads.link(0).call('fail', 'no such thing'));
  t.like(error, {
    name: 'MeshError',
    code: 'ERR_TEST',
    side: 'upstream',
    message: 'no such thing',
  });
});

test('a request that cannot be cloned fails its caller alone', async (t) => {
  const { threads } = startThreads(1);
  await using _running = threads;
  // A function cannot be cloned, and the types refuse it: this is a caller without types.
  const wrong = [() => undefined] as unknown as number[];
  await t.throwsAsync(threads.link(0).call('add', wrong), { name: 'DataCloneError' });
  t.is(await threads.link(0).call('add', [1]), 2);
});

test('stopping lets every thread close what it has, then no thread is left', async (t) => {
  const { threads, stopped } = startThreads(2);
  await threads.callAll('identify', null);
  await threads[Symbol.asyncDispose]();
  t.deepEqual(stopped.sort(), [0, 1]);
  await t.throwsAsync(threads.link(0).call('add', [1]), { code: 'ERR_THREAD_LINK' });
});

test('a crashed thread is reported, and fails the calls that waited for it', async (t) => {
  const { threads, crashes } = startThreads(1);
  await using _running = threads;
  await t.throwsAsync(threads.link(0).call('crash', null), { code: 'ERR_THREAD_LINK' });
  const { index, error } = await crashes;
  t.is(index, 0);
  t.is(error.message, 'crashed on purpose');
});

test('a thread that hangs is ended by force', async (t) => {
  const { threads } = startThreads(1);
  const hung = threads.link(0).call('hang', null);
  void hung.catch(() => undefined);
  await threads[Symbol.asyncDispose]();
  await t.throwsAsync(hung, { code: 'ERR_THREAD_LINK' });
});
