import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { formatLogLevels, openLog, parseLogLevels, type Log } from '../../../mesh/runtime/log.ts';
import { openLineWriter } from '../../../mesh/runtime/log-writer.ts';

function openTestLog(levels: string): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const writer = { write: (line: string) => void lines.push(line), flush: () => undefined };
  const log = openLog({ format: 'text', levels: parseLogLevels(levels), writer, now: () => 0 });
  return { log, lines };
}

test('a record passes when the level of its scope lets it', (t) => {
  const { log, lines } = openTestLog('warn,dns=debug,access=off');
  log.scope('proxy').info('quiet');
  log.scope('proxy').warn('heard');
  log.scope('dns').debug('heard too');
  log.scope('dns').trace('quiet');
  log.scope('access').error('quiet');
  log.scope('dns::forward').debug('under dns');
  t.deepEqual(
    lines.map((line) => line.split('\t').slice(1).join(' ').trim()),
    ['warn proxy heard', 'debug dns heard too', 'debug dns::forward under dns'],
  );
});

test('levels change at run time, for loggers made before too', (t) => {
  const { log, lines } = openTestLog('info');
  const logger = log.scope('dns');
  t.false(logger.isEnabled('debug'));
  log.setLevels(parseLogLevels('info,dns=debug'));
  t.true(logger.isEnabled('debug'));
  logger.debug('heard');
  t.is(lines.length, 1);
  t.is(formatLogLevels(log.levels()), 'info,dns=debug');
});

for (const wrong of ['loud', 'dns=', '=info', 'dns=loud', 'a b=info', 'info=info=info']) {
  test(`parseLogLevels() refuses ${wrong}`, (t) => {
    t.throws(() => parseLogLevels(wrong), { code: 'ERR_LOG_LEVEL' });
  });
}

test('parseLogLevels() keeps at most 100 scopes', (t) => {
  const many = Array.from({ length: 101 }, (_, index) => `s${index}=info`).join(',');
  t.throws(() => parseLogLevels(many), { code: 'ERR_LOG_LEVEL' });
});

/** A new file, and what has been written to it. */
function openFile(t: ExecutionContext): { fd: number; written: () => string } {
  const folder = mkdtempSync(join(tmpdir(), 'halo-log-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'log');
  return { fd: openSync(path, 'w'), written: () => readFileSync(path, 'utf8') };
}

test('lines of a turn reach a file in order', async (t) => {
  const { fd, written } = openFile(t);
  const writer = openLineWriter(fd);
  const lines = Array.from({ length: 5000 }, (_, index) => `line ${index} ${'x'.repeat(50)}\n`);
  for (const line of lines) writer.write(line);
  await new Promise(setImmediate);
  closeSync(fd);
  t.is(written(), lines.join(''));
});

test('lines that may wait go out together, in order with those that may not, and before the end', async (t) => {
  const { fd, written } = openFile(t);
  const writer = openLineWriter(fd);
  writer.write('a\n', 'soon');
  await new Promise(setImmediate);
  t.is(written(), '');
  while (written() === '') await new Promise(setImmediate);
  t.is(written(), 'a\n');
  writer.write('b\n', 'soon');
  writer.write('c\n');
  await new Promise(setImmediate);
  t.is(written(), 'a\nb\nc\n');
  writer.write('d\n', 'soon');
  writer.flush();
  t.is(written(), 'a\nb\nc\nd\n');
  // Nor do many wait for the time.
  const many = 'x'.repeat(1000).concat('\n');
  for (let line = 0; line < 70; line++) writer.write(many, 'soon');
  await new Promise(setImmediate);
  t.is(written().length, 8 + 70 * many.length);
  closeSync(fd);
});

test('of lines that may not wait the first goes out at once, and those right behind it together', async (t) => {
  const { fd, written } = openFile(t);
  let nowMs = 1000;
  const writer = openLineWriter(fd, { now: () => nowMs });
  writer.write('a\n');
  await new Promise(setImmediate);
  t.is(written(), 'a\n');
  writer.write('b\n');
  await new Promise(setImmediate);
  t.is(written(), 'a\n');
  writer.write('c\n');
  while (written() === 'a\n') await new Promise(setImmediate);
  t.is(written(), 'a\nb\nc\n');
  nowMs += 1000;
  writer.write('d\n');
  await new Promise(setImmediate);
  t.is(written(), 'a\nb\nc\nd\n');
  closeSync(fd);
});

test('a program that ends by itself has written what may not wait', (t) => {
  const script = `
    import { openLineWriter } from './mesh/runtime/log-writer.ts';
    const writer = openLineWriter(1);
    writer.write('first\\n');
    setImmediate(() => setImmediate(() => writer.write('right behind it\\n')));
  `;
  const options = ['--input-type=module-typescript', '-e', script];
  const cwd = join(import.meta.dirname, '../../..');
  const out = execFileSync(process.execPath, options, { cwd, encoding: 'utf8' });
  t.is(out, 'first\nright behind it\n');
});

const threadsScript = `
  import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
  import { openLog, DEFAULT_LOG_LEVELS } from './mesh/runtime/log.ts';
  const log = openLog({ format: 'text', levels: DEFAULT_LOG_LEVELS });
  const writeLines = (scope) => {
    for (let i = 0; i < 500; i++) log.scope(scope).info('m'.repeat(700), { i });
    log.flush();
  };
  if (isMainThread) {
    const mainIsBlocked = new Int32Array(new SharedArrayBuffer(4));
    new Worker(new URL(import.meta.url), { workerData: mainIsBlocked }).once('message', () => {
      Atomics.store(mainIsBlocked, 0, 1);
      Atomics.notify(mainIsBlocked, 0);
      writeLines('main');
      for (;;) Atomics.wait(mainIsBlocked, 0, 1);
    });
  } else {
    parentPort.postMessage('loaded');
    Atomics.wait(workerData, 0, 0);
    writeLines('worker');
  }
`;

test('a worker thread writes whole lines to standard output while the main thread is blocked', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'halo-log-'));
  const script = join(folder, 'threads.mts');
  const root = join(import.meta.dirname, '../../..');
  const fd = openSync(script, 'w');
  writeSync(fd, threadsScript.replaceAll("'./", `'${root}/`));
  closeSync(fd);
  const child = spawn(process.execPath, [script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 15_000,
  });
  t.teardown(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  let out = '';
  // The main thread never ends by itself: were a line to go by way of it, this would wait until the time is over.
  for await (const chunk of child.stdout) {
    out += String(chunk);
    if (out.split('\tworker\t').length > 500) break;
  }
  for (const line of out.split('\n').slice(0, -1))
    t.regex(line, /^\S+\tinfo\t(main|worker)\tm{700}\ti=\d+$/);
});

const blockedScript = `
  import { openLineWriter } from './mesh/runtime/log-writer.ts';
  let dropped = 0;
  const writer = openLineWriter(1, { onDropped: (lines) => { dropped += lines; } });
  process.stdout._handle?.setBlocking(false);
  const line = 'x'.repeat(999) + '\\n';
  for (let i = 0; i < 50_000; i++) writer.write(line);
  process.stderr.write('written\\n');
  const timer = setInterval(() => {
    if (dropped > 0) { clearInterval(timer); writer.flush(); process.stderr.write('dropped ' + dropped); }
  }, 5);
`;

test('a reader that stops reading makes lines drop, counted, not the program wait', async (t) => {
  const root = join(import.meta.dirname, '../../..');
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', blockedScript], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  child.stdout.pause();
  const [written] = (await once(child.stderr, 'data')) as [Buffer];
  t.is(written.toString(), 'written\n');
  const [out, told] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const dropped = Number(/dropped (\d+)/.exec(told)?.[1]);
  const lines = out.split('\n');
  t.true(dropped > 30_000, `${dropped} were dropped`);
  t.is(lines.length - 1 + dropped, 50_000);
  for (const line of lines.slice(0, -1)) t.is(line.length, 999);
});
