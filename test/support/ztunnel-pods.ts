import { execFileSync } from 'node:child_process';
import { setImmediate as pause } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import {
  parseIpAddress,
  socketAddress,
  type IpAddress,
  type SocketAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { PeerDescriptions } from '../../mesh/hbone/peer-descriptions.ts';
import { SessionPool } from '../../mesh/hbone/pool.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { DEFAULT_TRUST_DOMAIN, type SpiffeId } from '../../mesh/model/identity.ts';
import {
  HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  OUTBOUND_PORT,
  OWN_PORTS,
} from '../../mesh/model/ports.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import { ConnectionMetrics } from '../../mesh/proxy/connection-metrics.ts';
import { Connections } from '../../mesh/proxy/connections.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { StateWaiters } from '../../mesh/proxy/state/waiters.ts';
import { openLog } from '../../mesh/runtime/log.ts';
import { formatMetrics } from '../../mesh/runtime/metrics-text.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { duplicate } from '../../net/descriptor.ts';
import { openNetns, prepareNetns, type Netns } from '../../net/netns.ts';
import { listenTcp, type TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { bindListener, connectTcp } from '../../net/tcp.ts';
import { HandshakeAdmission } from '../../mesh/proxy/handshake-admission.ts';
import type { DataParts } from '../../ztunnel/parts.ts';
import { Pods } from '../../ztunnel/pods.ts';
import type { HandedListener, PodHandover } from '../../ztunnel/thread-calls.ts';
import { TlsContexts } from '../../mesh/proxy/tls-contexts.ts';
import { captureByMark } from './capture.ts';
import { Collector } from './collect.ts';
import { addBridge, joinBridge, runInside } from './namespace.ts';
import { makeTestCa, type TestCa } from './test-ca.ts';
import { makeWorkload, type WorkloadFields } from './workloads.ts';

const MARK = 0x539;
let count = 0;

/** One line of the access log. */
export type AccessRecord = Readonly<Record<string, unknown>>;

/** A pod: a namespace of its own on the test's bridge. */
export class TestPod {
  readonly name: string;
  readonly ip: IpAddress;
  readonly netns: Netns;
  readonly workload: Workload;
  readonly #t: ExecutionContext;

  constructor(t: ExecutionContext, netns: Netns, workload: Workload) {
    this.#t = t;
    this.netns = netns;
    this.workload = workload;
    this.name = workload.name;
    this.ip = workload.addresses[0] ?? parseIpAddress('0.0.0.0');
  }

  /** Listens as the application would; each connection goes to `onConnection`. */
  listen(port: number, onConnection: (app: Collector, peer: SocketAddress) => void): TcpListener {
    const address = { ip: parseIpAddress('::'), port };
    const listener = listenTcp({ address, netns: this.netns }, (stream) => {
      const { peer } = stream;
      onConnection(this.#collect(stream), peer);
    });
    this.#t.teardown(() => {
      listener.close();
    });
    return listener;
  }

  /** The first connection to a port, with where it came from. */
  accept(port: number): Promise<{ app: Collector; peer: SocketAddress }> {
    return new Promise((resolve) => {
      const listener = this.listen(port, (app, peer) => {
        listener.close();
        resolve({ app, peer });
      });
    });
  }

  /** Dials as the application would. */
  async connect(ip: string, port: number): Promise<Collector> {
    return this.#collect(await connectTcp(socketAddress(ip, port), { netns: this.netns }));
  }

  #collect(stream: TcpStream): Collector {
    this.#t.teardown(() => {
      stream.reset();
    });
    return new Collector(stream);
  }

  run(script: string, input = ''): string {
    return runInside(this.netns, script, input);
  }
}

/**
 * The data side of a node proxy in this thread, with pods in namespaces of their own. Making a pod holds the thread up,
 * and with it the timers of connections: tests that use it go one after another.
 */
export class TestNode {
  readonly ca: TestCa = makeTestCa();
  readonly state = new ProxyState('node-a');
  readonly waiters = new StateWaiters();
  readonly connections = new Connections();
  readonly pool = new SessionPool({ idleMs: 300_000 });
  readonly metrics = new Metrics();
  readonly contexts: TlsContexts;
  readonly parts: DataParts;
  readonly pods: Pods;
  /** The access log and everything else that was logged, parsed. */
  readonly log: AccessRecord[] = [];
  /** What the CA answers; a test may put its own in the place. */
  issue: (identity: SpiffeId) => WorkloadCertificate = (identity) => this.ca.issue(identity);
  readonly #t: ExecutionContext;
  readonly #bridge: Netns;
  readonly #waiting: (() => void)[] = [];
  #pods = 0;
  #closed = false;

  static async open(t: ExecutionContext, parts: Partial<DataParts> = {}): Promise<TestNode> {
    await prepareNetns();
    return new TestNode(t, parts);
  }

  private constructor(t: ExecutionContext, parts: Partial<DataParts>) {
    this.#t = t;
    this.#bridge = makeNamespace(t);
    addBridge(this.#bridge);
    this.contexts = new TlsContexts({
      fetch: (identity) => Promise.try(() => this.issue(identity)),
      onRenewed: (identity) => {
        this.pool.retireIdentity(identity);
      },
    });
    const log = openLog({
      format: 'json',
      levels: { fallback: 'debug', scopes: new Map() },
      writer: {
        write: (line: string) => {
          this.log.push(JSON.parse(line) as AccessRecord);
          for (const wake of this.#waiting.splice(0)) wake();
        },
        flush: () => undefined,
      },
    });
    this.parts = {
      state: this.state,
      waiters: this.waiters,
      pool: this.pool,
      contexts: this.contexts,
      connections: this.connections,
      metrics: new ConnectionMetrics(this.metrics),
      accessLog: log.scope('access'),
      log: log.scope('ztunnel'),
      policyLog: { logger: log.scope('rbac'), level: 'debug' },
      network: '',
      ownPorts: OWN_PORTS,
      clusterId: 'Kubernetes',
      packetMark: MARK,
      handshakes: new HandshakeAdmission(this.metrics),
      ...{ keepAlive: undefined, takesTurns: false },
      tunnelOnLoopback: true,
      responseBaggage: true,
      peerDescriptions: new PeerDescriptions(),
      clientHttp2: {},
      serverHttp2: {},
      trustDomains: new Set([DEFAULT_TRUST_DOMAIN]),
      resolveHostname: () => Promise.resolve([]),
      namesOf: () => ({ resolve: () => Promise.resolve([]) }),
      ...parts,
    };
    this.pods = new Pods(this.parts, DEFAULT_TRUST_DOMAIN);
  }

  /** Ends everything, before the namespaces go. */
  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.pods.stopAll();
    this.connections.cutAll(new MeshError('ERR_TEST', 'local', 'the test is over'));
    this.pool[Symbol.dispose]();
    await this.pods.whenIdle();
    for (const { uid } of this.pods.contexts()) this.pods.remove(uid);
    this.contexts[Symbol.dispose]();
  }

  /** A pod with an address; not served by anyone yet, and not known to the proxy. */
  addPlain(fields: WorkloadFields): TestPod {
    const ip = fields.ips?.[0] ?? `10.7.0.${this.#pods + 1}`;
    const netns = makeNamespace(this.#t);
    this.#t.teardown(() => this.#close());
    joinBridge(this.#bridge, netns, {
      link: `p${++this.#pods}`,
      address: `${ip}/16`,
      route: 'dev eth0',
    });
    return new TestPod(this.#t, netns, makeWorkload({ ips: [ip], ...fields }));
  }

  /** As addPlain(), with the rules that lead its connections to a proxy. */
  addCaptured(fields: WorkloadFields): TestPod {
    const pod = this.addPlain(fields);
    captureByMark(pod.netns);
    return pod;
  }

  /** A pod of the mesh: captured, known, and served. */
  addPod(fields: WorkloadFields): TestPod {
    const pod = this.addCaptured(fields);
    this.know(pod.workload);
    this.pods.add(this.handover(pod));
    return pod;
  }

  /** As the control plane would tell it. */
  know(...workloads: Workload[]): void {
    for (const workload of workloads) this.state.setWorkload(workload);
    this.waiters.announce();
  }

  /** What the control thread hands over for a pod. */
  handover(pod: TestPod): PodHandover {
    const { workload, netns } = pod;
    const listen = (port: number): HandedListener => {
      const address = { ip: parseIpAddress('::'), port };
      const options = {
        address,
        netns,
        mark: MARK,
        transparent: 'best-effort',
        reusePort: true,
      } as const;
      return { ...bindListener(options), kept: false };
    };
    return {
      uid: pod.name,
      name: pod.name,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      netnsFd: duplicate(netns.fd),
      outbound: listen(OUTBOUND_PORT),
      plaintext: listen(INBOUND_PLAINTEXT_PORT),
      hbone: listen(HBONE_PORT),
      socks5: undefined,
      dns: [],
    };
  }

  /** The first `count` records of that kind, as they come. */
  async records(
    wanted: (record: AccessRecord) => boolean,
    howMany = 1,
  ): Promise<readonly AccessRecord[]> {
    for (;;) {
      const found = this.log.filter((record) => record['scope'] === 'access' && wanted(record));
      if (found.length >= howMany) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** What no event tells of: looked at again and again. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await pause();
  }

  /** The record of the end of the one connection of that direction. */
  async ended(direction: 'inbound' | 'outbound'): Promise<AccessRecord> {
    const [record] = await this.records(
      (found) =>
        ['connection complete', 'connection failed'].includes(String(found['message'])) &&
        found['direction'] === direction,
    );
    return record ?? {};
  }

  /** The sum of a metric's series whose text contains all of `parts`. */
  metric(name: string, ...labels: readonly string[]): number {
    for (const connection of this.connections.all()) connection.updateMetrics();
    return formatMetrics(this.metrics.snapshot(), 'prometheus')
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) && labels.every((part) => line.includes(part)))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }
}

function makeNamespace(t: ExecutionContext): Netns {
  const name = `halo-zt-${process.pid}-${count++}`;
  execFileSync('ip', ['netns', 'add', name]);
  const netns = openNetns(`/run/netns/${name}`);
  t.teardown(() => {
    netns.close();
    execFileSync('ip', ['netns', 'del', name]);
  });
  runInside(netns, 'ip link set lo up');
  return netns;
}
