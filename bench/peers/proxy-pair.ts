import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { makeTestCa } from '../../test/support/test-ca.ts';
import { startChild, stopChild, type Child } from '../harness/child.ts';
import { writePrivate } from '../harness/private-file.ts';
import { processTree } from '../harness/processes.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';

/** Buffers of every proxy, as design section 8 sets the peers' conditions. */
export const BUFFER_BYTES = 64 * 1024;
/** Threads or workers of each proxy. */
export const WORKERS = 2;
/** The name in the certificate of a server's proxy. */
export const SERVER_NAME = 'server.bench';
/** The only suite and key exchange in the rows with a peer. */
export const CIPHER_SUITE = 'TLS_AES_128_GCM_SHA256';
export const GROUP = 'X25519';

/** What both proxies of a pair are told; their configuration is made of it. */
export type PairFiles = Readonly<{
  folder: string;
  ca: string;
  client: Readonly<{ certificate: string; key: string; both: string }>;
  server: Readonly<{ certificate: string; key: string; both: string }>;
}>;

/** Added to a port of the application: where the client's proxy listens, and where the server's does. */
export type PairOffsets = Readonly<{ client: number; server: number }>;

export type PairPlan = Readonly<{
  /** The server's address, as the client's proxy dials it. */
  serverIp: string;
  /** Ports of the application on the server's side. */
  ports: readonly number[];
}>;

export type Side = 'client' | 'server';

/** How a kind of proxy is configured and started. */
export type ProxyKind = Readonly<{
  name: string;
  /** Of its own: two that listen on one port with SO_REUSEPORT would share its connections, and nobody would tell. */
  offsets: PairOffsets;
  /** Prints its version. */
  versionCommand: readonly string[];
  /** The whole configuration of one side. */
  configuration(side: Side, plan: PairPlan, files: PairFiles): string;
  /** Runs in the foreground, with its log on standard output or in its folder. */
  command(configFile: string, files: PairFiles): readonly string[];
}>;

export type Enter = (command: readonly string[]) => readonly string[];

const START_TIMEOUT_MS = 5000;

/** Two proxies in a chain, mTLS between them: plain on the client's loopback, TLS between the pods, plain to the app. */
export class ProxyPair implements AsyncDisposable {
  readonly name: string;
  readonly offsets: PairOffsets;
  readonly #children: readonly Child[];
  readonly #folder: TemporaryFolder;

  private constructor(kind: ProxyKind, children: readonly Child[], folder: TemporaryFolder) {
    this.name = kind.name;
    this.offsets = kind.offsets;
    this.#children = children;
    this.#folder = folder;
  }

  /** Starts both and waits until they serve. @throws {Error} when one does not start. */
  static async start(
    kind: ProxyKind,
    plan: PairPlan,
    enter: Readonly<Record<Side, Enter>>,
  ): Promise<ProxyPair> {
    const folder = new TemporaryFolder('peer');
    const files = writeFiles(folder.path);
    const children = (['server', 'client'] as const).map((side) => {
      const file = join(files.folder, `${kind.name}-${side}.conf`);
      writeFileSync(file, kind.configuration(side, plan, files));
      const log = join(files.folder, `${kind.name}-${side}.log`);
      const logged = ['sh', '-c', 'log=$1; shift; exec "$@" >> "$log" 2>&1', 'sh', log];
      return startChild(enter[side]([...logged, ...kind.command(file, files)]));
    });
    const pair = new ProxyPair(kind, children, folder);
    try {
      const [port = 0] = plan.ports;
      await pair.#serves(enter.client, '127.0.0.1', port + kind.offsets.client);
      await pair.#serves(enter.client, plan.serverIp, port + kind.offsets.server);
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Every process of both proxies. */
  pids(): number[] {
    return this.#children.flatMap(({ pid }) => (pid === undefined ? [] : processTree(pid)));
  }

  async #serves(enter: Enter, host: string, port: number): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await answers(enter, host, port))) {
      const ended = this.#children.some(({ exitCode }) => exitCode !== null);
      if (ended || performance.now() > deadline)
        throw new Error(`Cannot start ${this.name}: see the logs in ${this.#folder.path}`);
      await wait(50);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(stopChild));
    this.#folder[Symbol.dispose]();
  }
}

/** Whether something listens there, seen from where `enter` leads. */
async function answers(enter: Enter, host: string, port: number): Promise<boolean> {
  const script = `require('net').connect(${port},'${host}').on('connect',()=>process.exit(0)).on('error',()=>process.exit(1))`;
  const child = startChild(enter([process.execPath, '-e', script]));
  return await new Promise((resolve) => {
    child.on('exit', (code) => {
      resolve(code === 0);
    });
  });
}

/** A CA of the pair's own, with a certificate for each side. */
function writeFiles(folder: string): PairFiles {
  const ca = makeTestCa();
  const write = (name: string, text: string): string => writePrivate(folder, name, text);
  const side = (name: Side): PairFiles['client'] => {
    const certificate = ca.issue(`spiffe://cluster.local/ns/bench/sa/${name}`, {
      ...{ uris: [], dnsNames: [`${name}.bench`] },
    });
    const chain = certificate.chainPem.join('\n');
    return {
      certificate: write(`${name}.crt`, chain),
      key: write(`${name}.key`, certificate.privateKeyPem),
      both: write(`${name}.pem`, `${chain}\n${certificate.privateKeyPem}`),
    };
  };
  return {
    folder,
    ca: write('ca.crt', ca.rootPem),
    client: side('client'),
    server: side('server'),
  };
}
