import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import {
  EXEC_PROTOCOL,
  type ApplyResponse,
  type PartRequest,
  type PartStatus,
  type SandboxSettings,
} from '../../deploy/sandbox/api.ts';
import { encodeExecFrame } from '../../deploy/sandbox/exec-frames.ts';
import { readAdminJson } from '../admin-pages.ts';
import { readManifests } from '../manifests.ts';
import { valueAt } from '../object-fields.ts';
import { controlPlaneOf, ztunnelsOf } from '../parts.ts';
import { Sandbox } from '../sandbox.ts';
import { waitForProxies } from '../sync.ts';
import { runExec } from '../verbs/exec.ts';
import { HeldConnection } from './held-connection.ts';

export const NAMESPACE = 'shop';
export const EXAMPLES = join(import.meta.dirname, '../../deploy/examples/demo');

const POD_CLIENT = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(import.meta.dirname, 'pod-client.ts'),
];
const SETTLE_TIMEOUT_MS = 15_000;

/** In place of a pod: a namespace on the sandbox's network that is no pod. */
export const OUTSIDE = '(outside)';

/** What a command in a pod said and how it ended. */
export type Answer = Readonly<{ code: number; output: string; error: string }>;

/** The sandbox of the demo, and what its steps do with it. */
export class DemoMesh {
  readonly sandbox: Sandbox;
  readonly #signal: AbortSignal;

  constructor(settings: SandboxSettings, signal: AbortSignal) {
    this.sandbox = new Sandbox(settings.name);
    this.#signal = signal;
  }

  /** Runs the demo's client in a pod (or OUTSIDE the mesh) to its end. */
  async client(pod: string, ...args: readonly string[]): Promise<Answer> {
    const output: Uint8Array[] = [];
    const error: Uint8Array[] = [];
    const code = await runExec(await this.#exec(pod, args), {
      out: (chunk) => output.push(Buffer.from(chunk)),
      note: (chunk) => error.push(Buffer.from(chunk)),
    });
    const join = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString().trim();
    return { code, output: join(output), error: join(error) };
  }

  /** Opens a connection from a pod to the echo port, and keeps it. */
  async hold(pod: string): Promise<HeldConnection> {
    const socket = await this.#exec(pod, ['hold', `web.${NAMESPACE}`, '9000']);
    return new HeldConnection(socket, (text) => encodeExecFrame('stdin', Buffer.from(text)));
  }

  #exec(pod: string, args: readonly string[]): ReturnType<Sandbox['upgrade']> {
    const target = pod === OUTSIDE ? { outside: true } : { namespace: NAMESPACE, pod };
    const query = { ...target, command: [...POD_CLIENT, ...args] };
    return this.sandbox.upgrade('/v1/exec', query, EXEC_PROTOCOL, this.#signal);
  }

  /** Applies a file of deploy/examples/demo, and waits until every proxy has it. */
  async apply(file: string): Promise<void> {
    const documents = await readManifests([join(EXAMPLES, file)]);
    await this.sandbox.post<ApplyResponse>('/v1/apply', { documents });
    await this.settle();
  }

  async deletePolicy(name: string): Promise<void> {
    const object = { kind: 'AuthorizationPolicy', namespace: NAMESPACE, name };
    await this.sandbox.post('/v1/delete', { objects: [object] });
    await this.settle();
  }

  /** Waits until what was asked for runs, and every proxy knows of it. */
  async settle(): Promise<void> {
    const settled = await this.sandbox.wait('settled', SETTLE_TIMEOUT_MS, this.#signal);
    if (!settled.done) throw notSettled(settled.unsettled);
    const status = await this.sandbox.status(this.#signal);
    const wait = await waitForProxies(controlPlaneOf(status), SETTLE_TIMEOUT_MS);
    if (!wait.done)
      throw notSettled(wait.laggards.map(({ proxy, reason }) => `${proxy}: ${reason}`));
  }

  /** Sets how many pods a Deployment has, and waits until they are ready. */
  async scale(name: string, replicas: number): Promise<void> {
    await this.sandbox.post('/v1/scale', { namespace: NAMESPACE, name, replicas });
    await this.settle();
  }

  /** Kills what runs in a pod, as a crash would. */
  async kill(pod: string): Promise<void> {
    await this.sandbox.post('/v1/kill', { namespace: NAMESPACE, pod });
  }

  async part(name: string, action: PartRequest['action']): Promise<void> {
    await this.sandbox.post('/v1/parts', { name, action });
  }

  /** The address of a pod. */
  async addressOf(pod: string): Promise<string> {
    const { pods } = await this.sandbox.status(this.#signal);
    const found = pods.find((one) => one.namespace === NAMESPACE && one.name === pod);
    const [address] = found?.addresses ?? [];
    if (address !== undefined) return address;
    throw new MeshError('ERR_DEMO', 'local', `Cannot find an address of pod ${pod}`);
  }

  /** The access-log lines of a node's ztunnel, as they were written so far. */
  async accessLog(node: string): Promise<Readonly<Record<string, unknown>>[]> {
    const [part] = ztunnelsOf(await this.sandbox.status(this.#signal), node);
    const chunks: Uint8Array[] = [];
    await this.sandbox.stream(
      '/v1/logs',
      { part: part?.name },
      (chunk) => chunks.push(chunk),
      this.#signal,
    );
    return Buffer.concat(chunks)
      .toString()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      .filter((line) => valueAt(line, 'scope') === 'access');
  }

  /** An admin page of a node's ztunnel. */
  async adminPage(node: string, path: string): Promise<unknown> {
    const [part] = ztunnelsOf(await this.sandbox.status(this.#signal), node);
    return readAdminJson(part as PartStatus, path);
  }

  /** Asks again until the answer is there, or the time is over. */
  async until<Value>(
    ask: () => Promise<Value | undefined>,
    timeoutMs: number,
  ): Promise<Value | undefined> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const value = await ask();
      if (value !== undefined || performance.now() > deadlineMs) return value;
      await delay(100, undefined, { signal: this.#signal });
    }
  }
}

function notSettled(what: readonly string[]): MeshError {
  return new MeshError('ERR_TIMED_OUT', 'local', `Cannot go on: ${what.join('; ')}`);
}
