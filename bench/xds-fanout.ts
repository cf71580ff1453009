/**
 * How long does it take until the last of many proxies has a change of one endpoint among many workloads (perf-C1), and
 * how long is the control plane's thread held up by it, and by proxies that come and ask for everything?
 *
 *     node bench/xds-fanout.ts [proxies] [workloads] [changes]
 *
 * A real istiod-lite reads files; the proxies are real gRPC streams over TLS, a connection each, in a process of their
 * own, and acknowledge what they get. The time is from before the file is written to the last proxy's receipt, and
 * between two changes lies more than the time in which changes are joined.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { JOIN_MS } from '../istiod-lite/joiner.ts';
import { podYaml, TestControlPlane, ZTUNNEL } from '../test/istiod-lite/support/control-plane.ts';
import { XdsProxies } from './load/xds-proxies.ts';

type Start = Readonly<{ port: number; rootPem: string; token: string; proxies: number }>;
/** From the proxies' process: all have their first state, or all have one more change. */
type Report = Readonly<{ kind: 'ready' | 'changed'; ns: string }>;

if (process.send === undefined) await measure();
else process.once('message', (start) => void runProxies(start as Start));

async function measure(): Promise<void> {
  const [proxies = 200, workloads = 10_000, changes = 40] = process.argv.slice(2).map(Number);
  await using control = new TestControlPlane();
  const ipOf = (index: number): string => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
  for (let from = 0; from < workloads; from += 100) {
    const pods = Array.from({ length: Math.min(100, workloads - from) }, (_, n) =>
      podYaml(`pod-${from + n}`, { ip: ipOf(from + n) }),
    );
    control.write(`pods-${from}.yaml`, pods.join(''));
  }
  const oneIp = '11.0.0.1';
  control.write('one.yaml', podYaml('one', { ip: oneIp }));
  await control.start();
  const start: Start = {
    ...{ port: control.running.grpcPort, rootPem: control.rootPem, proxies },
    token: await control.issuer.token(ZTUNNEL),
  };
  const turns = monitorEventLoopDelay({ resolution: 1 });
  turns.enable();
  const child = fork(import.meta.filename, { execArgv: process.execArgv });
  child.send(start);
  await nextReport(child);
  print('longest turn while proxies come', `${(turns.max / 1e6).toFixed(0)} ms`);
  await delay(10 * JOIN_MS);
  turns.reset();

  const timesMs: number[] = [];
  for (let change = 0; change < changes; change++) {
    const before = process.hrtime.bigint();
    control.write('one.yaml', podYaml('one', { ip: oneIp, ready: change % 2 === 1 }));
    const { ns } = await nextReport(child);
    timesMs.push(Number(BigInt(ns) - before) / 1e6);
    await delay(3 * JOIN_MS);
  }
  turns.disable();
  timesMs.sort((a, b) => a - b);
  const at = (share: number): string =>
    `${(timesMs[Math.min(timesMs.length - 1, Math.floor(timesMs.length * share))] ?? NaN).toFixed(1)} ms`;
  print('proxies, workloads, changes', `${proxies}, ${workloads}, ${changes}`);
  print('file written to last proxy, p50', at(0.5));
  print('file written to last proxy, p99', at(0.99));
  print('longest turn while changes go out', `${(turns.max / 1e6).toFixed(0)} ms`);
  child.disconnect();
  await once(child, 'exit');
}

async function nextReport(child: ReturnType<typeof fork>): Promise<Report> {
  const [report] = (await once(child, 'message')) as [Report];
  return report;
}

async function runProxies({ port, rootPem, token, proxies }: Start): Promise<void> {
  let ready = 0;
  let changed = 0;
  const report = (kind: Report['kind']): void => {
    process.send?.({ kind, ns: String(process.hrtime.bigint()) } satisfies Report);
  };
  const onReady = (): void => {
    if (++ready === proxies) report('ready');
  };
  const onChange = (): void => {
    if (++changed % proxies === 0) report('changed');
  };
  process.once('disconnect', () => process.exit(0));
  await new XdsProxies({ port, rootPem, token, count: proxies, onReady, onChange }).connectAll();
}

function print(what: string, value: string): void {
  console.log(`${what.padEnd(40)} ${value}`);
}
