/**
 * What does an access record cost, and what does a connection's metrics, with our own code and with pino and
 * prom-client? Every variant runs in a process of its own, five times in turn; medians are printed.
 *
 *     node bench/logging-and-metrics.ts
 */
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openLog } from '../mesh/runtime/log.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { formatMetrics } from '../mesh/runtime/metrics-text.ts';

type Result = Readonly<Record<string, number>>;

const ROUNDS = 5;
const LINES = 200_000;
/** As many as a busy turn of a data thread ends. */
const LINES_PER_TURN = 50;
const SERIES = 1_000;
const CONNECTIONS = 200_000;
const COUNTERS = ['opened', 'closed', 'received', 'sent'];
/** As many as the istio_tcp_* metrics have. */
const LABEL_NAMES = Array.from({ length: 25 }, (_, index) => `label_${index}`);

/** A record with what a connection between two pods has. */
function recordFields(index: number): Record<string, string | number> {
  return {
    'src.addr': `10.244.16.2:${30_000 + (index % 10_000)}`,
    'src.workload': 'client-5d8f7c9b4-x2x7k',
    'src.namespace': 'shop',
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
    'src.cluster': 'Kubernetes',
    'dst.addr': '10.244.32.2:15008',
    'dst.hbone_addr': '10.244.32.2:8080',
    'dst.service': 'web.shop.svc.cluster.local',
    'dst.workload': 'web-7c9d8f5b4-k64nt',
    'dst.namespace': 'shop',
    'dst.identity': 'spiffe://cluster.local/ns/shop/sa/web',
    'dst.cluster': 'Kubernetes',
    direction: 'outbound',
    bytes_sent: index,
    bytes_recv: index * 3,
    duration: `${index % 1000}ms`,
  };
}

function labelsOf(series: number): string[] {
  return LABEL_NAMES.map((name, index) =>
    index % 5 === 0 ? `workload-${series}` : `${name}-of-all`,
  );
}

/** In KiB: what this process alone holds. */
function privateKib(): number {
  const [, kib] =
    /^Private_Dirty:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8')) ?? [];
  return Number(kib);
}

async function measureLines(write: (index: number) => void, flush: () => void): Promise<Result> {
  for (let index = 0; index < 20_000; index++) {
    write(index);
    if (index % LINES_PER_TURN === 0) await nextTurn();
  }
  const before = process.cpuUsage();
  for (let index = 0; index < LINES; index++) {
    write(index);
    if (index % LINES_PER_TURN === 0) await nextTurn();
  }
  flush();
  const { user, system } = process.cpuUsage(before);
  return { 'us a line': (user + system) / LINES };
}

/** @param bind gives the four counters of a label set, each as "add so much". */
async function measureCounters(
  bind: (labels: readonly string[]) => readonly ((value: number) => void)[],
  text: () => string | Promise<string>,
): Promise<Result> {
  const sets = Array.from({ length: SERIES }, (_, index) => labelsOf(index));
  const memory = privateKib();
  const cells = sets.map(bind);
  const held = privateKib() - memory;
  let start = process.cpuUsage();
  for (let index = 0; index < CONNECTIONS; index++)
    for (const add of cells[index % SERIES] ?? []) add(1);
  const kept = cpuMicros(start) / CONNECTIONS;
  start = process.cpuUsage();
  const lookUps = CONNECTIONS / 10;
  for (let index = 0; index < lookUps; index++)
    for (const add of bind(sets[index % SERIES] ?? [])) add(1);
  const lookedUp = cpuMicros(start) / lookUps;
  start = process.cpuUsage();
  await text();
  return {
    'us a connection, series kept': kept,
    'us a connection, series looked up': lookedUp,
    'ms a page of 4,000 series': cpuMicros(start) / 1000,
    'KiB of 4,000 series': held,
  };
}

function cpuMicros(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}

async function loading<Loaded>(load: () => Promise<Loaded>): Promise<[Loaded, Result]> {
  const before = privateKib();
  const startMs = performance.now();
  const loaded = await load();
  return [
    loaded,
    { 'ms to load': performance.now() - startMs, 'KiB to load': privateKib() - before },
  ];
}

const variants: Readonly<Record<string, () => Promise<Result>>> = {
  async 'log, ours, text'() {
    const log = openLog({ format: 'text', levels: { fallback: 'info', scopes: new Map() } });
    const logger = log.scope('access');
    return await measureLines(
      (index) => {
        logger.info('connection complete', recordFields(index));
      },
      () => {
        log.flush();
      },
    );
  },
  async 'log, ours, json'() {
    const log = openLog({ format: 'json', levels: { fallback: 'info', scopes: new Map() } });
    const logger = log.scope('access');
    return await measureLines(
      (index) => {
        logger.info('connection complete', recordFields(index));
      },
      () => {
        log.flush();
      },
    );
  },
  async 'log, pino, json'() {
    const [{ pino }, cost] = await loading(() => import('pino'));
    const destination = pino.destination({ fd: 1, sync: false, minLength: 4096 });
    const options = {
      ...{ base: null, messageKey: 'message', timestamp: pino.stdTimeFunctions.isoTime },
      formatters: { level: (label: string) => ({ level: label }) },
    };
    const logger = pino(options, destination).child({ scope: 'access' });
    const measured = await measureLines(
      (index) => {
        logger.info(recordFields(index), 'connection complete');
      },
      () => {
        destination.flushSync();
      },
    );
    return { ...measured, ...cost };
  },
  async 'metrics, ours'() {
    const metrics = new Metrics();
    const families = COUNTERS.map((name) =>
      metrics.counter(`istio_tcp_${name}_total`, name, { labelNames: LABEL_NAMES }),
    );
    return await measureCounters(
      (labels) =>
        families.map((family) => {
          const cell = family.cell(...labels);
          return (value) => {
            cell.value += value;
          };
        }),
      () => formatMetrics(metrics.snapshot(), 'prometheus'),
    );
  },
  async 'metrics, prom-client'() {
    const [{ Counter, Registry }, cost] = await loading(() => import('prom-client'));
    const registry = new Registry();
    const registers = [registry];
    const counters = COUNTERS.map(
      (name) =>
        new Counter({
          name: `istio_tcp_${name}_total`,
          help: name,
          labelNames: LABEL_NAMES,
          registers,
        }),
    );
    const measured = await measureCounters(
      (labels) =>
        counters.map((counter) => {
          const child = counter.labels(...labels);
          return (value) => {
            child.inc(value);
          };
        }),
      () => registry.metrics(),
    );
    return { ...measured, ...cost };
  },
};

async function runChild(name: string): Promise<Result> {
  const args = ['--disable-warning=ExperimentalWarning', import.meta.filename, name];
  // Lines go where a file would be: to the null device.
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', openSync('/dev/null', 'w'), 'inherit', 'ipc'],
  });
  const [[result]] = (await Promise.all([once(child, 'message'), once(child, 'exit')])) as [
    [Result],
    unknown,
  ];
  return result;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

const [, , chosen] = process.argv;
if (chosen === undefined) {
  const results = new Map<string, Result[]>(Object.keys(variants).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, list] of results) list.push(await runChild(name));
  for (const [name, list] of results)
    for (const what of Object.keys(list[0] ?? {}))
      console.log(`${name}: ${what}: ${median(list.map((each) => each[what] ?? 0)).toFixed(2)}`);
} else {
  process.send?.(await variants[chosen]?.());
}
