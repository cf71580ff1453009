import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { EventEmitter, once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { ExecutionContext } from 'ava';
import {
  EXEC_PROTOCOL,
  partAdminSocket,
  sandboxPaths,
  stateFolder,
  type ExecQuery,
  type SandboxPaths,
  type SandboxSettings,
  type SandboxStatus,
  type WaitResult,
} from '../../deploy/sandbox/api.ts';
import {
  ExecFrameDecoder,
  encodeExecFrame,
  type ExecExit,
} from '../../deploy/sandbox/exec-frames.ts';
import { startSandbox, stopSandbox } from '../../deploy/sandbox/launch.ts';
import { endWithProcess } from '../support/own-state.ts';

export const SETTLE_TIMEOUT_MS = 20_000;

export type TestSandbox = Readonly<{
  name: string;
  paths: SandboxPaths;
  post<Answer = unknown>(path: string, body: unknown): Promise<Answer>;
  get<Answer = unknown>(path: string): Promise<Answer>;
  apply(text: string): Promise<unknown>;
  status(): Promise<SandboxStatus>;
  settled(): Promise<WaitResult>;
  exec(query: ExecQuery, input?: string): Promise<ExecExit & { stdout: string; stderr: string }>;
}>;

export function settingsFor(name: string, change: Partial<SandboxSettings> = {}): SandboxSettings {
  return {
    ...{ name, nodes: 2, mesh: false, dnsCapture: false, images: {}, partEnvironment: {} },
    ...change,
  };
}

/** A running sandbox that ends with the test. */
export async function openSandbox(
  t: ExecutionContext,
  name: string,
  change: Partial<SandboxSettings> = {},
): Promise<TestSandbox> {
  const letGo = endWithProcess(name);
  t.teardown(async () => {
    await stopSandbox(name);
    letGo();
  });
  await startSandbox(settingsFor(name, change));
  return connectTo(name);
}

export function connectTo(name: string): TestSandbox {
  const paths = sandboxPaths(stateFolder(name));
  const socketPath = paths.controlSocket;
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const asked = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${path}: ${response.statusCode ?? 0} ${text}`));
      });
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
    const text = await promise;
    return text === '' ? undefined : (JSON.parse(text) as unknown);
  };
  return {
    name,
    paths,
    post: async <Answer>(path: string, body: unknown) => (await call('POST', path, body)) as Answer,
    get: async <Answer>(path: string) => (await call('GET', path)) as Answer,
    apply: (text) => call('POST', '/v1/apply', { documents: [{ source: 'test.yaml', text }] }),
    status: async () => (await call('GET', '/v1/status')) as SandboxStatus,
    settled: async () =>
      (await call('GET', `/v1/wait?for=settled&timeoutMs=${SETTLE_TIMEOUT_MS}`)) as WaitResult,
    exec: (query, input = '') => execIn(socketPath, query, input),
  };
}

/** A program that runs in a pod, and says lines. */
export class ExecProgram {
  readonly #socket: Socket;
  readonly #lines: string[] = [];
  readonly #said = new EventEmitter();
  #exit: ExecExit | undefined;
  #rest = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async start({ paths }: TestSandbox, query: ExecQuery): Promise<ExecProgram> {
    const { command, ...place } = query;
    const parameters = new URLSearchParams(Object.entries(place).map(([k, v]) => [k, String(v)]));
    for (const word of command) parameters.append('command', word);
    const asked = request({
      socketPath: paths.controlSocket,
      path: `/v1/exec?${parameters.toString()}`,
      headers: { connection: 'Upgrade', upgrade: EXEC_PROTOCOL },
    });
    asked.end();
    const [, socket, head] = (await once(asked, 'upgrade')) as [IncomingMessage, Socket, Buffer];
    const program = new ExecProgram(socket);
    const decoder = new ExecFrameDecoder();
    const take = (chunk: Buffer): void => {
      for (const { channel, payload } of decoder.push(chunk)) program.#take(channel, payload);
    };
    take(head);
    socket.on('data', take);
    return program;
  }

  /** The next line that it says. */
  async nextLine(): Promise<string> {
    while (this.#lines.length === 0 && this.#exit === undefined) await once(this.#said, 'said');
    return this.#lines.shift() ?? '';
  }

  endInput(): void {
    this.#socket.write(encodeExecFrame('stdin', Buffer.alloc(0)));
  }

  /** Its last line, as JSON, after its end. */
  async last<Value>(): Promise<Value> {
    while (this.#exit === undefined) await once(this.#said, 'said');
    return JSON.parse(this.#lines.at(-1) ?? 'null') as Value;
  }

  #take(channel: string, payload: Buffer): void {
    if (channel === 'stderr') process.stderr.write(payload);
    if (channel === 'exit') {
      this.#exit = JSON.parse(payload.toString()) as ExecExit;
      this.#socket.destroy();
    }
    if (channel === 'stdout') {
      const lines = (this.#rest + payload.toString()).split('\n');
      this.#rest = lines.pop() ?? '';
      this.#lines.push(...lines);
    }
    this.#said.emit('said');
  }
}

/** A page of a part of the mesh, as text. */
export async function adminPage(
  { paths }: TestSandbox,
  part: string,
  path: string,
): Promise<string> {
  const asked = request({ socketPath: partAdminSocket(paths, part), path, agent: false });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return text(response);
}

async function execIn(
  socketPath: string,
  query: ExecQuery,
  input: string,
): Promise<ExecExit & { stdout: string; stderr: string }> {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query))
    for (const one of Array.isArray(value) ? (value as string[]) : [String(value)])
      parameters.append(key, one);
  const { promise, resolve, reject } = Promise.withResolvers<
    ExecExit & { stdout: string; stderr: string }
  >();
  const headers = { connection: 'Upgrade', upgrade: EXEC_PROTOCOL };
  const path = `/v1/exec?${parameters.toString()}`;
  const asked = request({ socketPath, path, headers });
  asked.on('response', (response) => {
    response.setEncoding('utf8').on('data', (text: string) => {
      reject(new Error(text));
    });
  });
  asked.on('error', reject);
  asked.on('upgrade', (_response, socket, head: Buffer) => {
    const decoder = new ExecFrameDecoder();
    const output = { stdout: '', stderr: '' };
    const take = (chunk: Buffer): void => {
      for (const { channel, payload } of decoder.push(chunk)) {
        if (channel === 'stdout' || channel === 'stderr') output[channel] += payload.toString();
        if (channel !== 'exit') continue;
        resolve({ ...output, ...(JSON.parse(payload.toString()) as ExecExit) });
        socket.destroy();
      }
    };
    take(head);
    socket.on('data', take);
    if (input !== '') socket.write(encodeExecFrame('stdin', Buffer.from(input)));
    socket.write(encodeExecFrame('stdin', Buffer.alloc(0)));
  });
  asked.end();
  return promise;
}

/** What of the host a sandbox must never change. */
export function describeHost(): string {
  const run = (program: string, ...args: string[]): string => {
    try {
      return execFileSync(program, args, {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      });
    } catch {
      return `${program} does not run here`;
    }
  };
  return [
    run('ip', '-o', 'link'),
    run('ip', '-o', 'address').replaceAll(/valid_lft \S+/g, ''),
    run('ip', 'route'),
    run('ip', 'rule'),
    run('ip', 'netns'),
    run('nft', 'list', 'ruleset'),
    readFileSync('/proc/self/mounts', 'utf8'),
  ].join('\n');
}

/** The processes, of all users, whose command line holds a text. */
export function processesWith(text: string): string[] {
  const out = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  return out.split('\n').filter((line) => line.includes(text) && !line.includes('ps -eo'));
}

/** A network namespace of its own, held by a process that ends with the test. */
export async function openNamespace(t: ExecutionContext): Promise<string> {
  // It says so once it is inside.
  const holder = spawn(
    'unshare',
    ['--net', 'sh', '-c', 'ip link set lo up; echo in; exec sleep 600'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  t.teardown(() => holder.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve);
    holder.once('exit', () => {
      reject(new Error('cannot make a network namespace'));
    });
  });
  return `/proc/${holder.pid ?? 0}/ns/net`;
}
