import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { JOIN_MS } from '../../istiod-lite/joiner.ts';
import {
  podYaml,
  serviceYaml,
  TestControlPlane,
  ZTUNNEL,
} from '../../test/istiod-lite/support/control-plane.ts';
import { processMemory } from '../harness/processes.ts';
import { ipOf } from '../harness/mesh-state.ts';
import { median } from '../harness/statistics.ts';
import type { ProxiesReport, ProxiesStart } from './proxies-program.ts';
import type { ScaleReport, ScaleTask } from './task.ts';

/*
 * A real istiod-lite that reads files, and simulated node proxies on real streams: control-program.ts TASK
 * TASK is a ScaleTask as JSON; prints a ScaleReport.
 */

const PODS_PER_FILE = 100;
const PODS_PER_SERVICE = 10;
const MB = 1 << 20;
/** Two looks of releaseAfterSending() and one to spare. */
const SETTLE_MS = 6000;
const ONE_IP = '11.255.255.1';

const { workloads, proxies, changes } = JSON.parse(process.argv[2] ?? '{}') as ScaleTask;
await using control = new TestControlPlane();
writeMesh();
const beganMs = performance.now();
await control.start();
const startMs = performance.now() - beganMs;
const child = fork(join(import.meta.dirname, 'proxies-program.ts'), {
  execArgv: process.execArgv,
});
const askedNs = process.hrtime.bigint();
child.send({
  ...{ port: control.running.grpcPort, rootPem: control.rootPem, count: proxies },
  token: await control.issuer.token(ZTUNNEL),
} satisfies ProxiesStart);
const ready = await nextReport(child);
// It gives back by itself what was needed for sending alone.
await delay(SETTLE_MS);
const controlMb = processMemory([process.pid]).resident / MB;
const changeMs: number[] = [];
const cpuMs: number[] = [];
let receivedBytes = ready.receivedBytes;
const changeBytes: number[] = [];
for (let change = 0; change < changes; change++) {
  const cpu = process.cpuUsage();
  const before = process.hrtime.bigint();
  control.write('one.yaml', podYaml('one', { ip: ONE_IP, ready: change % 2 === 1 }));
  const report = await nextReport(child);
  changeMs.push(msBetween(before, report));
  changeBytes.push(report.receivedBytes - receivedBytes);
  ({ receivedBytes } = report);
  await delay(3 * JOIN_MS);
  const { user, system } = process.cpuUsage(cpu);
  cpuMs.push((user + system) / 1000);
}
child.disconnect();
await once(child, 'exit');
const report: ScaleReport = {
  ...{ startMs, controlMb, firstMs: ready.firstMs, allFirstMs: msBetween(askedNs, ready) },
  ...{ firstBytes: ready.receivedBytes / proxies, changeMs, changeCpuMs: median(cpuMs) },
  changeBytes: median(changeBytes),
};
console.log(JSON.stringify(report));

/** Pods by the hundred in a file, a Service for every ten, and the one pod that changes. */
function writeMesh(): void {
  for (let from = 0; from < workloads; from += PODS_PER_FILE) {
    const count = Math.min(PODS_PER_FILE, workloads - from);
    const pods = Array.from({ length: count }, (_, offset) => {
      const index = from + offset;
      const labels = `app: svc-${Math.floor(index / PODS_PER_SERVICE)}`;
      const node = `node-${index % proxies}`;
      return podYaml(`pod-${index}`, { ip: ipOf(11, index), labels, node });
    });
    const services = Array.from({ length: Math.ceil(count / PODS_PER_SERVICE) }, (_, offset) => {
      const index = from / PODS_PER_SERVICE + offset;
      return serviceYaml(`svc-${index}`, ipOf(10, index + 1));
    });
    control.write(`pods-${from}.yaml`, [...pods, ...services].join(''));
  }
  control.write('one.yaml', podYaml('one', { ip: ONE_IP }));
}

async function nextReport(from: ChildProcess): Promise<ProxiesReport> {
  const [found] = (await once(from, 'message')) as [ProxiesReport];
  return found;
}

function msBetween(fromNs: bigint, { ns }: ProxiesReport): number {
  return Number(BigInt(ns) - fromNs) / 1e6;
}
