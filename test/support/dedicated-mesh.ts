import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseIpAddress } from '../../base/address.ts';
import { fetchAdmin, type AdminAnswer } from '../../mesh/admin/client.ts';
import { prepareNetns, type Netns } from '../../net/netns.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { Collector } from './collect.ts';
import { withDeadline } from './deadline.ts';
import { beganSince, type LogRecord } from './mesh-records.ts';
import { addBridge, inside, joinBridge, makeNamespace } from './namespace.ts';
import { runProgram, type Ended } from './run-program.ts';
import { TemporaryFolder } from './temporary-folder.ts';
import { makeTokenIssuer } from './tokens.ts';

const ROOT = join(import.meta.dirname, '../..');
/** For programs to start, on a machine that is busy with others. */
const START_TIMEOUT_MS = 30_000;
const RECORD_TIMEOUT_MS = 15_000;
const POLL_MS = 20;
/** Of the programs in place of a mark, for rules to know them by. */
export const PROXY_GROUP = 1337;

export const CONTROL_IP = '10.7.0.254';
const CONTROL_PORT = 15012;

/** A program of ours in a namespace, with what it logs. */
export class DedicatedProgram {
  readonly child: ChildProcess;
  readonly admin: string;
  readonly records: LogRecord[] = [];
  readonly ended: Promise<number | null>;
  readonly #events = new EventTarget();

  constructor(
    netns: Netns,
    program: string,
    options: Readonly<{ admin: string; env: Readonly<Record<string, string>> }>,
  ) {
    this.admin = options.admin;
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', program];
    const group = ['setpriv', '--regid', String(PROXY_GROUP), '--clear-groups'];
    this.child = spawn('nsenter', [...inside(netns), ...group, ...command], {
      env: { PATH: process.env['PATH'], LOG_FORMAT: 'json', ADMIN_UDS: this.admin, ...options.env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { stdout } = this.child;
    if (stdout === null) throw new Error('no output');
    createInterface({ input: stdout }).on('line', (line) => {
      this.records.push(JSON.parse(line) as LogRecord);
      this.#events.dispatchEvent(new Event('record'));
    });
    this.ended = once(this.child, 'close').then(([code]) => code as number | null);
  }

  /** The first record that is such a one, of a connection that began since a mark (of `Date.now()`), if it is of one. */
  async record(wanted: LogRecord, mark = 0): Promise<LogRecord> {
    const find = (): LogRecord | undefined =>
      this.records.find(
        (record) =>
          beganSince(record, mark) &&
          Object.entries(wanted).every(([key, value]) => record[key] === value),
      );
    const { promise, resolve } = Promise.withResolvers<LogRecord>();
    const look = (): void => {
      const found = find();
      if (found !== undefined) resolve(found);
    };
    this.#events.addEventListener('record', look);
    try {
      look();
      const all = (): string => `${JSON.stringify(wanted)} in ${JSON.stringify(this.records)}`;
      return await withDeadline(promise, RECORD_TIMEOUT_MS, all);
    } finally {
      this.#events.removeEventListener('record', look);
    }
  }

  page(path: string): Promise<AdminAnswer> {
    return fetchAdmin({ kind: 'unix', path: this.admin }, path);
  }

  /** Waits for the file and the answer of its admin socket. */
  async ready(path: string): Promise<void> {
    const asking = (async () => {
      for (;;) {
        const answer = existsSync(this.admin)
          ? await this.page(path).catch(() => undefined)
          : undefined;
        if (answer?.status === 200) return;
        if (this.child.exitCode !== null) throw new Error(JSON.stringify(this.records));
        await delay(POLL_MS);
      }
    })();
    await withDeadline(asking, START_TIMEOUT_MS, () => `ready: ${JSON.stringify(this.records)}`);
  }
}

/** A real control plane in a namespace of its own, joined by a bridge to those of workloads, which nobody hands over. */
export class DedicatedMesh implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #folder = this.#stack.use(new TemporaryFolder());
  readonly #issuer = makeTokenIssuer();
  readonly #bridge: Netns;
  #links = 0;

  private constructor(bridge: Netns) {
    this.#bridge = bridge;
    this.#stack.defer(() => {
      bridge.close();
    });
    addBridge(bridge, `${CONTROL_IP}/16`);
  }

  /** @param accounts those that may run a proxy of their own. */
  static async start(accounts: readonly string[]): Promise<DedicatedMesh> {
    await prepareNetns();
    const mesh = new DedicatedMesh(await makeNamespace({ teardown: () => undefined }));
    mkdirSync(mesh.path('config'));
    await mesh.#issuer.writeKeySet(mesh.path('jwks.json'));
    const control = mesh.#run(mesh.#bridge, 'istiod-lite/main.ts', 'istiod', {
      ...{ CONFIG_DIRS: mesh.path('config'), CA_DIR: mesh.path('ca') },
      ...{ TOKEN_JWKS: mesh.path('jwks.json'), ROOT_CERT_FILE: mesh.path('root.pem') },
      DEDICATED_PROXY_ACCOUNTS: accounts.join(),
    });
    await control.ready('/ready');
    return mesh;
  }

  path(name: string): string {
    return join(this.#folder.path, name);
  }

  /** Writes configuration, whole. */
  apply(name: string, yaml: string): void {
    const path = join(this.path('config'), `${name}.yaml`);
    writeFileSync(`${path}.tmp`, yaml);
    renameSync(`${path}.tmp`, path);
  }

  remove(name: string): void {
    rmSync(join(this.path('config'), `${name}.yaml`));
  }

  /** A namespace with an address on the bridge, and none of IPv6. */
  async addNamespace(ip: string): Promise<Netns> {
    const netns = await makeNamespace({
      teardown: (close: () => void) => {
        this.#stack.defer(close);
      },
    });
    joinBridge(this.#bridge, netns, {
      link: `w${++this.#links}`,
      address: `${ip}/16`,
      route: `via ${CONTROL_IP}`,
    });
    return netns;
  }

  /** A node proxy for the one workload, with a token of its account; not waited for. */
  async startProxy(
    netns: Netns,
    workload: Readonly<{ name: string; uid: string; serviceAccount: string }>,
    env: Readonly<Record<string, string>> = {},
  ): Promise<DedicatedProgram> {
    const { name, uid, serviceAccount } = workload;
    const account = { namespace: 'shop', serviceAccount, podName: name, podUid: uid, node: '' };
    const token = this.path(`token-${name}`);
    writeFileSync(token, await this.#issuer.token(account));
    const address = `https://${CONTROL_IP}:${CONTROL_PORT}`;
    const roots = this.path('root.pem');
    return this.#run(netns, 'ztunnel/main.ts', `ztunnel-${name}`, {
      ...{ PROXY_MODE: 'dedicated', PROXY_WORKLOAD_INFO: `shop/${name}/${serviceAccount}` },
      ...{ XDS_ADDRESS: address, CA_ADDRESS: address, XDS_ROOT_CA: roots, CA_ROOT_CA: roots },
      ...{ ALT_XDS_HOSTNAME: SERVER_NAME, ALT_CA_HOSTNAME: SERVER_NAME, AUTH_TOKEN: token },
      ISTIO_META_DNS_CAPTURE: 'false',
      ...env,
    });
  }

  /** Answers HTTP on a port of a namespace: with a name, and the address that the client came from. */
  serveHttp(netns: Netns, port: number, name: string): void {
    const address = { ip: parseIpAddress('0.0.0.0'), port };
    const listener = listenTcp({ address, netns }, (stream) => {
      const { ip } = stream.peer;
      const app = new Collector(stream);
      const body = `${name} to ${ip}\n`;
      void app
        .until((c) => c.text.endsWith('\r\n\r\n') || c.ended || c.error !== undefined)
        .then(() => app.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`))
        .then(() => {
          stream.end();
        })
        .catch(() => undefined); // its client has gone
    });
    this.#stack.defer(() => {
      listener.close();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #run(
    netns: Netns,
    program: string,
    name: string,
    env: Readonly<Record<string, string>>,
  ): DedicatedProgram {
    const admin = this.path(`${name}.sock`);
    const running = new DedicatedProgram(netns, join(ROOT, program), { admin, env });
    this.#stack.defer(async () => {
      running.child.kill('SIGKILL');
      await running.ended;
    });
    return running;
  }
}

const SERVER_NAME = 'istiod.istio-system.svc';

/** `curl` in a namespace. */
export function curl(netns: Netns, ...args: readonly string[]): Promise<Ended> {
  return runProgram('nsenter', [...inside(netns), 'curl', '-sS', '--max-time', '15', ...args]);
}
