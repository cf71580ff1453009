import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { fetchAdmin } from '../../mesh/admin/client.ts';
import { makeTokenIssuer } from '../support/tokens.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const MAIN = new URL('../../istiod-lite/main.ts', import.meta.url).pathname;

function run(args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const ended = once(child, 'close').then(([code]) => ({ code: Number(code), output }));
  return { child, ended };
}

test('--help lists every setting with its default', async (t) => {
  const { code, output } = await run(['--help'], {}).ended;
  t.is(code, 0);
  t.regex(output, /GRPC_PORT .*\[15012\]/);
  t.regex(output, /CA_TRUSTED_NODE_ACCOUNTS .*\[istio-system\/ztunnel\]/);
});

test('a start with bad settings names them and ends with 78', async (t) => {
  const { code, output } = await run([], { CA_DIR: '/nowhere', MAX_WORKLOAD_CERT_TTL: 'soon' })
    .ended;
  t.is(code, 78);
  t.regex(output, /TOKEN_JWKS: not set/);
  t.regex(output, /MAX_WORKLOAD_CERT_TTL: found "soon"/);
});

test('the program starts, says that it is ready, publishes its roots, and ends in order on SIGTERM', async (t) => {
  using folder = new TemporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  await makeTokenIssuer().writeKeySet(at('jwks.json'));
  mkdirSync(at('config'));
  writeFileSync(at('config/bad.yaml'), 'kind: [');
  const { child, ended } = run([], {
    ...{ CONFIG_DIRS: at('config'), CA_DIR: at('ca'), TOKEN_JWKS: at('jwks.json') },
    ...{ STATUS_DIR: at('status'), ROOT_CERT_FILE: at('root.pem'), ADMIN_UDS: at('admin.sock') },
    ...{ GRPC_PORT: '0', HTTP_PORT: '0', READY_PORT: '0', LOG_FORMAT: 'json' },
  });
  const running = new Promise<void>((resolve) => {
    child.stdout.on('data', () => {
      if (existsSync(at('admin.sock'))) resolve();
    });
    void ended.then(() => {
      resolve();
    });
  });
  await running;
  while (!existsSync(at('admin.sock')) && child.exitCode === null)
    await new Promise((resolve) => setImmediate(resolve));
  const ask = (path: string) => fetchAdmin({ kind: 'unix', path: at('admin.sock') }, path);
  t.is((await ask('/ready')).status, 200);
  t.regex((await ask('/metrics')).body, /^halo_event_loop_blocks_total\{thread="control"\} \d/m);
  t.regex(readFileSync(at('root.pem'), 'utf8'), /BEGIN CERTIFICATE/);
  child.kill('SIGTERM');
  const { code, output } = await ended;
  t.is(code, 0);
  t.regex(output, /bad\.yaml:1:\d+: error: /);
  t.regex(output, /"stopped"/);
});
