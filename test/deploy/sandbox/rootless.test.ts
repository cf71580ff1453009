import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';

/** `nobody` on every Linux. */
const ORDINARY_USER = 65534;
const ROOT = join(import.meta.dirname, '..', '..', '..');

/** What an ordinary user runs: a sandbox, a pod that calls another through a Service, and its end. */
const SCRIPT = `
import { startSandbox, stopSandbox } from '${ROOT}/deploy/sandbox/launch.ts';
import { connectTo, settingsFor } from '${ROOT}/test/deploy/support.ts';
const [name] = ['rootless'];
await startSandbox(settingsFor(name));
const sandbox = connectTo(name);
await sandbox.apply(\`
apiVersion: v1
kind: Pod
metadata: { name: server, labels: { app: server } }
spec: { nodeName: node-1, containers: [{ name: c, image: halo/echo, readinessProbe: { tcpSocket: { port: 8080 } } }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { nodeName: node-2, containers: [{ name: c, image: halo/client }] }
---
apiVersion: v1
kind: Service
metadata: { name: server }
spec: { selector: { app: server }, ports: [{ port: 80, targetPort: 8080 }] }
\`);
await sandbox.settled();
const query = { namespace: 'default', pod: 'client', command: ['curl', '-s', 'http://server/'] };
const { stdout } = await sandbox.exec(query);
const stopped = await stopSandbox(name);
console.log(JSON.stringify({ user: process.getuid(), stdout, stopped }));
`;

function runAsOrdinaryUser(home: string, command: readonly string[]): string {
  const drop = [`--reuid=${ORDINARY_USER}`, `--regid=${ORDINARY_USER}`, '--clear-groups'];
  return execFileSync('setpriv', [...drop, ...command], {
    encoding: 'utf8',
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: home, XDG_STATE_HOME: home },
  });
}

test('an ordinary user has a sandbox too, where user namespaces are allowed', (t) => {
  const home = mkdtempSync(join(tmpdir(), 'halo-rootless-'));
  t.teardown(() => {
    rmSync(home, { recursive: true, force: true });
  });
  chmodSync(home, 0o755);
  chownSync(home, ORDINARY_USER, ORDINARY_USER);
  try {
    runAsOrdinaryUser(home, ['unshare', '--user', '--map-root-user', '--net', 'true']);
  } catch {
    t.log('user namespaces are not allowed here');
    t.pass();
    return;
  }
  const file = join(home, 'rootless.ts');
  writeFileSync(file, SCRIPT, { mode: 0o644 });
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', file];
  const result = JSON.parse(runAsOrdinaryUser(home, node)) as Record<string, string>;
  t.is(Number(result['user']), ORDINARY_USER);
  t.regex(result['stdout'] ?? '', /called-by: 10\.244\.32\./);
  t.deepEqual(result['stopped'] as unknown, { found: 'running' });
});
