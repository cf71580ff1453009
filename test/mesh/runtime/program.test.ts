import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import test from 'ava';

type Run = { code: number | null; messages: string[]; out: string; err: string };

async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  signal?: NodeJS.Signals,
): Promise<Run> {
  const file = join(import.meta.dirname, 'fixtures/program.ts');
  const flags = ['--disable-warning=ExperimentalWarning', file];
  const child = spawn(process.execPath, [...flags, ...args], {
    env,
    stdio: 'pipe',
    timeout: 20_000,
  });
  let started = '';
  if (signal !== undefined) {
    for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
      started += String(chunk);
      if (started.includes('running')) break;
    }
    child.kill(signal);
  }
  const exit = once(child, 'exit') as Promise<[number | null]>;
  const [rest, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  const out = started + rest;
  const messages = out.split('\n').flatMap((line) => line.split('\t')[3] ?? []);
  return { code, messages, out, err };
}

/** At least: itself, and what it imports. */
const MODULES_OF_FIXTURE = 4;

const ended = ['running', 'stopping', 'second part closed', 'first part closed', 'stopped'];

test('SIGTERM closes the parts in reverse order and exits with 0', async (t) => {
  const { code, messages } = await run([], {}, 'SIGTERM');
  t.is(code, 0);
  t.deepEqual(messages, ended);
});

test('a program may end itself in the same order', async (t) => {
  const { code, messages } = await run([], { PORT: '3' });
  t.is(code, 0);
  t.deepEqual(messages, ended);
});

test('a program that is killed leaves what it has compiled to the next one', async (t) => {
  const cache = mkdtempSync(join(tmpdir(), 'halo-compiled-'));
  t.teardown(() => {
    rmSync(cache, { recursive: true });
  });
  const file = join(import.meta.dirname, 'fixtures/program.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file], {
    ...{ env: { NODE_COMPILE_CACHE: cache }, stdio: 'ignore', timeout: 20_000 },
  });
  const exit = once(child, 'exit');
  const files = (): number =>
    readdirSync(cache, { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
      .length;
  while (files() < MODULES_OF_FIXTURE && child.exitCode === null) await wait(50);
  child.kill('SIGKILL');
  t.deepEqual(await exit, [null, 'SIGKILL']);
  t.true(files() >= MODULES_OF_FIXTURE);
});

test('a failed start undoes what was opened and exits with 1', async (t) => {
  const { code, messages, out } = await run([], { PORT: '1' });
  t.is(code, 1);
  const closed = ['cannot start', 'second part closed', 'first part closed'];
  t.deepEqual(messages, ['running', ...closed, 'stopped']);
  t.regex(out, /\terror\texample\tcannot start\terror="port 1 is never right"\n/);
});

test('a rejection that nobody handles is logged and exits with 1', async (t) => {
  const { code, out } = await run([], { PORT: '2' });
  t.is(code, 1);
  t.regex(out, /ending after an error that nobody handled\terror="Error: nobody waits for this/);
});

test('wrong settings are all named, and the exit code is 78', async (t) => {
  const { code, err, out } = await run([], { PORT: '0', LOG_FORMAT: 'xml' });
  t.is(code, 78);
  t.is(out, '');
  t.is(
    err,
    'example: Cannot read the environment:\n' +
      '  LOG_FORMAT: found "xml", expected text or json\n' +
      '  PORT: found "0", expected integer from 1 to 65535\n',
  );
});

test('--help lists the settings', async (t) => {
  const { code, out } = await run(['--help'], { PORT: '0' });
  t.is(code, 0);
  t.regex(out, /^Usage: example \[--help\]\n\nAn example.\n\nEnvironment:\n/);
  t.regex(out, /^ {2}PORT {8}A port \(integer from 1 to 65535\) \[80\]$/m);
});

test('an argument that is unknown exits with 64', async (t) => {
  const { code, err } = await run(['--port=80'], {});
  t.is(code, 64);
  t.regex(err, /unknown argument "--port=80"/);
});
