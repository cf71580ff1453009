import { request } from 'node:http';
import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';
import type { PartKind, PartRequest, PartState, PartStatus } from './api.ts';
import { pause, RestartBackoff } from './backoff.ts';
import { describeEnd, startProcess, type ContainerProcess } from './container.ts';
import { makeFolder } from './files.ts';
import { LogFile } from './log-file.ts';

/** How often a part is asked whether it is ready: before it is, and after. */
const STARTING_PERIOD_MS = 50;
const READY_PERIOD_MS = 2000;
const READY_TIMEOUT_MS = 2000;
/** For its own drain; connections that are to live longer are not a restart's business here. */
const STOP_GRACE_MS = 10_000;

export type PartSpec = Readonly<{
  name: string;
  kind: PartKind;
  node?: string;
  /** The whole command, entering its namespace included. */
  command: readonly string[];
  environment: ReadonlyMap<string, string>;
  adminSocket: string;
  logFile: string;
  /** The path on the admin socket that answers 200 when the part is ready. */
  readyPath: string;
}>;

/** One program of the mesh: started, started again when it ends, asked whether it is ready. */
export class Part {
  readonly spec: PartSpec;
  readonly log: LogFile;
  readonly #onChange: (part: Part) => void;
  #wanted = false;
  #state: PartState = 'stopped';
  #detail = '';
  #restarts = 0;
  #process: ContainerProcess | undefined;
  #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(spec: PartSpec, onChange: (part: Part) => void) {
    makeFolder(join(spec.adminSocket, '..'));
    makeFolder(join(spec.logFile, '..'));
    this.spec = spec;
    this.log = new LogFile(spec.logFile);
    this.#onChange = onChange;
  }

  get status(): PartStatus {
    const { name, kind, node, adminSocket, logFile } = this.spec;
    return {
      ...{ name, kind, state: this.#state, restarts: this.#restarts, adminSocket, logFile },
      ...(this.#process !== undefined && { pid: this.#process.pid }),
      ...(node !== undefined && { node }),
      ...(this.#detail !== '' && { detail: this.#detail }),
    };
  }

  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#stop = new AbortController();
    const before = this.#loop;
    this.#loop = before.then(() => this.#run(this.#stop.signal));
  }

  /** Asks it to end, then makes it; resolves when it has. */
  async stop(graceMs = STOP_GRACE_MS): Promise<void> {
    this.#wanted = false;
    this.#stop.abort();
    const process = this.#process;
    process?.kill('SIGTERM');
    const force = setTimeout(() => process?.kill('SIGKILL'), graceMs);
    await this.#loop;
    clearTimeout(force);
  }

  async act(action: PartRequest['action']): Promise<void> {
    switch (action) {
      case 'stop':
        await this.stop();
        return;
      case 'start':
        this.start();
        return;
      case 'restart':
        await this.stop();
        this.start();
        return;
      case 'kill':
        this.#process?.kill('SIGKILL');
        await this.#process?.exited;
        return;
    }
  }

  async #run(stop: AbortSignal): Promise<void> {
    const backoff = new RestartBackoff();
    for (;;) {
      const startedAtMs = Date.now();
      const process = startProcess(this.spec.command, this.spec.environment, this.log);
      this.#process = process;
      this.#change('starting', '');
      const ended = new AbortController();
      const watching = this.#watchReady(ended.signal);
      const end = await process.exited;
      ended.abort();
      await watching;
      // What it left in its group would keep its sockets.
      process.kill('SIGKILL');
      this.#process = undefined;
      this.log.note(`${this.spec.name}: ${describeEnd(end)}`);
      if (stop.aborted) break;
      this.#restarts += 1;
      this.#change('backing-off', describeEnd(end));
      if (!(await pause(backoff.next(Date.now() - startedAtMs), stop))) break;
    }
    this.#change('stopped', '');
  }

  async #watchReady(ended: AbortSignal): Promise<void> {
    for (;;) {
      const failure = await askReady(this.spec.adminSocket, this.spec.readyPath);
      if (ended.aborted) return;
      this.#change(failure === undefined ? 'ready' : 'starting', failure ?? '');
      await pause(failure === undefined ? READY_PERIOD_MS : STARTING_PERIOD_MS, ended);
    }
  }

  #change(state: PartState, detail: string): void {
    if (this.#state === state && this.#detail === detail) return;
    this.#state = state;
    this.#detail = detail;
    this.#onChange(this);
  }
}

export function findPart(parts: readonly Part[], name: string): Part {
  const found = parts.find((part) => part.spec.name === name);
  if (found !== undefined) return found;
  const known = parts.map((part) => part.spec.name).join(', ');
  const message = `Cannot find part ${JSON.stringify(name)}: this sandbox has ${known === '' ? 'none' : known}`;
  throw new MeshError('ERR_NOT_FOUND', 'local', message);
}

/** Why it is not ready, or undefined. */
function askReady(socketPath: string, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(READY_TIMEOUT_MS);
    const asked = request({ socketPath, path, agent: false, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        if (text.length < 500) text += chunk;
      });
      response.on('close', () => {
        const { statusCode = 0 } = response;
        resolve(statusCode === 200 ? undefined : `not ready: ${statusCode} ${text.trim()}`);
      });
    });
    asked.on('error', (error: NodeJS.ErrnoException) => {
      const silent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      resolve(silent ? 'has not opened its admin pages yet' : error.message);
    });
    asked.end();
  });
}
