import { rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';
import { ownSocketPath } from '../../mesh/admin/unix-listen.ts';
import type { PartKind, PartRequest, PartState, PartStatus } from './api.ts';
import { pause, RestartBackoff } from './backoff.ts';
import { describeEnd, startProcess, type ContainerProcess, type ProcessEnd } from './container.ts';
import { makeFolder } from './files.ts';
import { LogFile } from './log-file.ts';

/** How often a part is asked whether it is ready: before it is, and after. */
const STARTING_PERIOD_MS = 50;
const READY_PERIOD_MS = 2000;
const READY_TIMEOUT_MS = 2000;
/** For its own drain; connections that are to live longer outlive a replacement, not a stop. */
const STOP_GRACE_MS = 10_000;
/** For a process that is to replace another one, until it is ready. */
const REPLACE_TIMEOUT_MS = 30_000;
/**
 * Connections wait for a part that was killed, so the next one comes at once; only what ends soon after its start is
 * held back.
 */
const RESTART = { soundAfterMs: 1000, soundDelayMs: 0 };

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

/** A ready process that takes the place of the one that runs; `taken` is called when it has. */
type Successor = Readonly<{ process: ContainerProcess; taken: () => void }>;

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
  #successor = Promise.withResolvers<Successor>();
  #replacing = false;
  /** Replaced ones, which go on with what they had open. */
  readonly #draining = new Set<ContainerProcess>();
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
      ...(this.#draining.size > 0 && { draining: this.#draining.size }),
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
    const processes = [...this.#draining, ...(this.#process === undefined ? [] : [this.#process])];
    this.#process?.kill('SIGTERM'); // the others were asked when they were replaced
    const force = setTimeout(() => {
      for (const process of processes) process.kill('SIGKILL');
    }, graceMs);
    await this.#loop;
    await Promise.all(processes.map(({ exited }) => exited));
    clearTimeout(force);
  }

  /**
   * Starts another process beside the one that runs, and asks that one to end once the new one is ready: it goes on
   * with the connections that it has until they end, or its own deadline comes. For programs that share their ports.
   *
   * @throws {MeshError} ERR_PART when the new one is not ready in time; the old one runs on then.
   */
  async replace(): Promise<void> {
    const { kind, adminSocket, readyPath } = this.spec;
    if (kind !== 'ztunnel')
      throw partError(
        this.spec.name,
        'it shares its ports with no other process; restart it instead',
      );
    if (this.#state !== 'ready' || this.#replacing)
      throw partError(this.spec.name, this.#replacing ? 'it is being replaced' : 'it is not ready');
    this.#replacing = true;
    try {
      const before = inodeOf(adminSocket);
      const next = startProcess(this.spec.command, this.spec.environment, this.log);
      const given = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(REPLACE_TIMEOUT_MS)]);
      let end: ProcessEnd | undefined;
      void next.exited.then((how) => (end = how));
      let failure: string | undefined = 'has not opened its admin pages yet';
      while (failure !== undefined) {
        // Until it is ready, the old one answers there, and the new one at a path of its own.
        if (inodeOf(adminSocket) !== before) failure = await askReady(adminSocket, readyPath);
        else failure = (await askReady(ownSocketPath(adminSocket, next.pid), readyPath)) ?? failure;
        if (failure === undefined && end === undefined) break;
        if (given.aborted || end !== undefined) {
          next.kill('SIGKILL');
          rmSync(ownSocketPath(adminSocket, next.pid), { force: true });
          throw partError(this.spec.name, end === undefined ? (failure ?? '') : describeEnd(end));
        }
        await pause(STARTING_PERIOD_MS, given);
      }
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const taken = (): void => {
        resolve(undefined);
      };
      this.#successor.resolve({ process: next, taken });
      await Promise.race([promise, next.exited]);
    } finally {
      this.#replacing = false;
    }
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
      case 'replace':
        await this.replace();
        return;
      case 'kill':
        this.#process?.kill('SIGKILL');
        await this.#process?.exited;
        return;
    }
  }

  async #run(stop: AbortSignal): Promise<void> {
    const backoff = new RestartBackoff(RESTART);
    let successor: ContainerProcess | undefined;
    for (;;) {
      const startedAtMs = Date.now();
      const process = successor ?? startProcess(this.spec.command, this.spec.environment, this.log);
      this.#process = process;
      if (successor === undefined) this.#change('starting', '');
      this.#successor = Promise.withResolvers();
      const ended = new AbortController();
      const watching = this.#watchReady(ended.signal);
      const end = await Promise.race([process.exited, this.#successor.promise]);
      ended.abort();
      await watching;
      if ('taken' in end) {
        successor = end.process;
        this.#process = successor;
        void this.#drain(process);
        end.taken();
        continue;
      }
      successor = undefined;
      this.#ended(process, end);
      this.#process = undefined;
      if (stop.aborted) break;
      this.#restarts += 1;
      this.#change('backing-off', describeEnd(end));
      if (!(await pause(backoff.next(Date.now() - startedAtMs), stop))) break;
    }
    this.#change('stopped', '');
  }

  /** Asks a process to end that another one has replaced. Never rejects. */
  async #drain(process: ContainerProcess): Promise<void> {
    this.#draining.add(process);
    this.log.note(`${this.spec.name}: process ${process.pid} is replaced, and drains`);
    process.kill('SIGTERM');
    this.#onChange(this);
    const end = await process.exited;
    this.#draining.delete(process);
    this.#ended(process, end);
    this.#onChange(this);
  }

  #ended(process: ContainerProcess, end: ProcessEnd): void {
    // What it left in its group would keep its sockets.
    process.kill('SIGKILL');
    this.log.note(`${this.spec.name}: ${describeEnd(end)}`);
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

function partError(name: string, found: string): MeshError {
  return new MeshError('ERR_PART', 'local', `Cannot replace ${name}: ${found}`);
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
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
