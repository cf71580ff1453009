import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describeError, MeshError } from '../../base/errors.ts';
import { sandboxPaths, stateFolder, type SandboxSettings, type SupervisorFile } from './api.ts';
import { compileCache } from './compile-cache.ts';
import { runCommand, systemPath } from '../../mesh/runtime/command.ts';
import { makeFolder, writeFileAtomic } from './files.ts';

/** A socket's name with its folder must fit into sun_path; the longest of ours is a node agent's. */
const MAX_STATE_PATH_BYTES = 107 - '/parts/node-agent-node-1/admin.sock'.length;
const START_TIMEOUT_MS = 20_000;
/** Longer than any pod's default grace, so that an orderly end is never cut short. */
const STOP_TIMEOUT_MS = 45_000;
const REQUIRED_PROGRAMS: readonly (readonly [program: string, debianPackage: string])[] = [
  ['ip', 'iproute2'],
  ['nft', 'nftables'],
  ['unshare', 'util-linux'],
  ['nsenter', 'util-linux'],
  ['mount', 'mount'],
];

/**
 * What is inside runs in namespaces of its own; the shell is its first process, which reaps whatever is orphaned.
 * Where the machine's resolver file is a link into /run (systemd-resolved), pods need something there to mount theirs on.
 */
const INSIDE = `mount -t tmpfs -o mode=0755 tmpfs /run && mkdir /run/netns && mount --make-rshared /run || exit 1
resolver=$(readlink -m /etc/resolv.conf)
case "$resolver" in /run/*) mkdir -p "\${resolver%/*}" && : > "$resolver" ;; esac
"$@" &
wait $!`;

/**
 * Starts the supervisor of a sandbox in namespaces of its own, in the background; resolves when its control API
 * answers. The mesh is not ready then: GET /v1/wait?for=ready tells.
 *
 * @throws {MeshError} ERR_SANDBOX_RUNNING, ERR_SANDBOX_REQUIREMENTS with what is missing, ERR_SANDBOX_START.
 */
export async function startSandbox(settings: SandboxSettings): Promise<void> {
  const root = stateFolder(settings.name);
  checkPath(root);
  const isolate = await isolation();
  await claimFolder(root, settings.name);
  const paths = sandboxPaths(root);
  makeFolder(paths.logs);
  writeFileAtomic(paths.settings, JSON.stringify(settings));
  const log = openSync(paths.supervisorLog, 'a', 0o600);
  const main = join(import.meta.dirname, 'main.ts');
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', main, root];
  const child = spawn('unshare', [...isolate, 'sh', '-c', INSIDE, 'sh', ...node], {
    stdio: ['ignore', log, log],
    detached: true,
    cwd: '/',
    env: { ...process.env, PATH: systemPath(), NODE_COMPILE_CACHE: compileCache(root) },
  });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => {
      resolve(error.message);
    });
    child.on('exit', (code, signal) => {
      resolve(signal ?? `exit code ${code ?? 'none'}`);
    });
  });
  try {
    writeSupervisorFile(paths.supervisor, child.pid);
    await waitForControl(paths.controlSocket, ended);
  } catch (error) {
    if (child.pid !== undefined && child.exitCode === null) killInside(child.pid);
    await ended;
    const said = lastLines(paths.supervisorLog);
    removeFolder(root);
    const message = `Cannot start sandbox "${settings.name}": ${describeError(error)}${said}`;
    throw new MeshError('ERR_SANDBOX_START', 'local', message, { cause: error });
  }
  child.unref();
}

/** What an end of a sandbox found: `crashed`, its supervisor had ended before; `none`, there was nothing. */
export type StopReport = Readonly<{ found: 'running' | 'crashed' | 'none' }>;

/** Ends a sandbox in order, or by force where that fails, and removes its state folder. */
export async function stopSandbox(name: string): Promise<StopReport> {
  const root = stateFolder(name);
  if (!existsSync(root)) return { found: 'none' };
  const paths = sandboxPaths(root);
  const supervisor = readSupervisor(paths.supervisor);
  const running = supervisor !== undefined && isAlive(supervisor);
  if (running) {
    await askToStop(paths.controlSocket).catch(() => undefined); // it hangs: by force then
    await endProcess(supervisor);
  }
  removeFolder(root);
  return { found: running ? 'running' : 'crashed' };
}

/** The process outside whose end is the sandbox's end, when it still runs. */
export function runningSupervisor(name: string): SupervisorFile | undefined {
  const supervisor = readSupervisor(sandboxPaths(stateFolder(name)).supervisor);
  return supervisor !== undefined && isAlive(supervisor) ? supervisor : undefined;
}

/**
 * The arguments of `unshare` that work for this user on this machine.
 *
 * @throws {MeshError} ERR_SANDBOX_REQUIREMENTS with one sentence that says what is missing.
 */
async function isolation(): Promise<string[]> {
  await checkPrograms();
  const namespaces = ['--net', '--mount', '--uts', '--pid', '--fork'];
  const flags = [...namespaces, '--kill-child=SIGKILL', '--mount-proc'];
  if (process.getuid?.() !== 0) flags.unshift('--user', '--map-root-user');
  const trial = 'mount -t tmpfs tmpfs /run && ip link add name halo-try type bridge';
  try {
    await runCommand(['unshare', ...flags, 'sh', '-c', trial]);
    return flags;
  } catch (cause) {
    throw requirementError(explainRefusal(describeError(cause)), cause);
  }
}

async function checkPrograms(): Promise<void> {
  const missing: string[] = [];
  for (const [program, debianPackage] of REQUIRED_PROGRAMS)
    await runCommand(['sh', '-c', 'command -v "$1"', 'sh', program]).catch(() =>
      missing.push(debianPackage),
    );
  if (missing.length === 0) return;
  const packages = [...new Set(missing)].join(' ');
  throw requirementError(
    `programs are missing; on Debian or Ubuntu: apt-get install ${packages}`,
    undefined,
  );
}

function explainRefusal(found: string): string {
  if (process.getuid?.() === 0)
    return `this kernel or container does not let root make namespaces (${found})`;
  const apparmor = '/proc/sys/kernel/apparmor_restrict_unprivileged_userns';
  const restricted = existsSync(apparmor) && readFileSync(apparmor, 'utf8').trim() === '1';
  const remedy = restricted
    ? 'run as root, or allow them with: sysctl kernel.apparmor_restrict_unprivileged_userns=0'
    : 'run as root, or allow them with: sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1';
  return `user namespaces are not allowed to ordinary users here (${found}); ${remedy}`;
}

function checkPath(root: string): void {
  if (Buffer.byteLength(root) <= MAX_STATE_PATH_BYTES) return;
  throw requirementError(
    `the state folder ${root} has more than ${MAX_STATE_PATH_BYTES} bytes, too many for unix sockets; set XDG_STATE_HOME to a shorter one`,
    undefined,
  );
}

/** Two `up` of one name at once: one of them makes the folder. */
async function claimFolder(root: string, name: string): Promise<void> {
  makeFolder(dirname(root));
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      mkdirSync(root, { mode: 0o700 });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const { supervisor } = sandboxPaths(root);
    // Its maker may not have come to write the file yet.
    for (let tries = 0; tries < 20 && !existsSync(supervisor); tries++) await wait(50);
    const found = readSupervisor(supervisor);
    if (found !== undefined && isAlive(found)) {
      const message = `Cannot start sandbox "${name}": it already runs (process ${found.pid}); end it with: halo down`;
      throw new MeshError('ERR_SANDBOX_RUNNING', 'local', message);
    }
    removeFolder(root); // left behind by a crash
  }
  throw new MeshError(
    'ERR_SANDBOX_RUNNING',
    'local',
    `Cannot start sandbox "${name}": another command is starting it`,
  );
}

async function waitForControl(socket: string, ended: Promise<string>): Promise<void> {
  const deadline = AbortSignal.timeout(START_TIMEOUT_MS);
  let over: string | undefined;
  void ended.then((how) => (over = how));
  for (;;) {
    if (over !== undefined) throw new Error(`the supervisor ended: ${over}`);
    if (deadline.aborted) throw new Error(`no answer within ${START_TIMEOUT_MS / 1000} s`);
    if (existsSync(socket)) {
      const answers = await askControl(socket, 'GET', '/v1/status', 2000).catch(() => 0);
      if (answers === 200) return;
    }
    await wait(20);
  }
}

async function askToStop(socket: string): Promise<void> {
  await askControl(socket, 'POST', '/v1/stop', STOP_TIMEOUT_MS);
}

function askControl(
  socketPath: string,
  method: string,
  path: string,
  timeoutMs: number,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const signal = AbortSignal.timeout(timeoutMs);
  const asked = request({ socketPath, method, path, signal, agent: false }, (response) => {
    response.resume();
    response.on('close', () => {
      resolve(response.statusCode ?? 0);
    });
  });
  asked.on('error', reject);
  asked.end();
  return promise;
}

async function endProcess(supervisor: SupervisorFile): Promise<void> {
  // After an orderly stop it ends by itself.
  for (let tries = 0; tries < 50 && isAlive(supervisor); tries++) await wait(20);
  if (!isAlive(supervisor)) return;
  killInside(supervisor.pid);
  for (let tries = 0; tries < 250 && isAlive(supervisor); tries++) await wait(20);
}

/**
 * Kills the first process of the namespaces that this `unshare` made: the kernel ends all others in there before
 * `unshare` hears of it, so that nobody inside lives when `unshare` has ended.
 */
function killInside(unsharePid: number): void {
  const [first] = childrenOf(unsharePid);
  try {
    process.kill(first ?? unsharePid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Empty also where the kernel does not tell (CONFIG_PROC_CHILDREN). */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text
      .split(' ')
      .map(Number)
      .filter((child) => child > 1);
  } catch {
    return [];
  }
}

/** After a crash somebody inside may live for a moment longer than the supervisor, and write. */
function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

function writeSupervisorFile(path: string, pid: number | undefined): void {
  const startTicks = pid === undefined ? undefined : startTicksOf(pid);
  if (pid === undefined || startTicks === undefined) throw new Error('unshare did not start');
  const file: SupervisorFile = { pid, startTicks, startedAt: new Date().toISOString() };
  writeFileAtomic(path, JSON.stringify(file));
}

function readSupervisor(path: string): SupervisorFile | undefined {
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as Partial<SupervisorFile>;
    const { pid, startTicks, startedAt } = file;
    if (typeof pid !== 'number' || pid <= 1 || typeof startTicks !== 'string') return undefined;
    return { pid, startTicks, startedAt: startedAt ?? '' };
  } catch {
    return undefined;
  }
}

/** A process that has ended and waits for its parent to notice is no longer alive. */
function isAlive(supervisor: SupervisorFile): boolean {
  return startTicksOf(supervisor.pid) === supervisor.startTicks;
}

function startTicksOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the third field, the state, is the first one behind it.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function lastLines(path: string): string {
  try {
    const text = readFileSync(path, 'utf8').trim();
    return text === '' ? '' : `\n${text.split('\n').slice(-8).join('\n')}`;
  } catch {
    return '';
  }
}

function requirementError(found: string, cause: unknown): MeshError {
  return new MeshError('ERR_SANDBOX_REQUIREMENTS', 'local', `Cannot make a sandbox: ${found}`, {
    cause,
  });
}
