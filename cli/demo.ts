/**
 * The whole mesh in fourteen steps: `npm run demo`, or `npm run demo -- --keep` to leave it running.
 * Exits with 0 only if every observation held.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { describeError } from '../base/errors.ts';
import type { SandboxSettings } from '../deploy/sandbox/api.ts';
import { runningSupervisor, stopSandbox } from '../deploy/sandbox/launch.ts';
import {
  changedParts,
  readHostState,
  readTraces,
  remaining,
  type HostState,
  type Traces,
} from './demo/host-state.ts';
import { DemoMesh, EXAMPLES } from './demo/mesh.ts';
import { Report } from './demo/report.ts';
import { CERTIFICATE_LIFETIME, STEPS } from './demo/steps.ts';
import { readManifests } from './manifests.ts';
import { printable, processTerminal, type Terminal } from './terminal.ts';
import { startMesh } from './verbs/up.ts';

const NAME = 'demo';
/** All of it, the removal included; what waits is given up a little before. */
const LIMIT_MS = 120_000;
const STEPS_LIMIT_MS = 110_000;
const READY_TIMEOUT_MS = 20_000;

const settings: SandboxSettings = {
  name: NAME,
  nodes: 2,
  mesh: true,
  dnsCapture: true,
  images: {},
  partEnvironment: { ztunnel: { SECRET_TTL: CERTIFICATE_LIFETIME } },
};

const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    interrupted.abort(new Error('interrupted'));
  });
const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(STEPS_LIMIT_MS)]);
process.exitCode = (await runDemo(processTerminal(signal), values.keep)) ? 0 : 1;

async function runDemo(terminal: Terminal, keep: boolean): Promise<boolean> {
  const startedMs = performance.now();
  const report = new Report(terminal);
  if (runningSupervisor(NAME) !== undefined) {
    terminal.note(
      `The demo's sandbox already runs; end it with: cli/bin/halo down --name ${NAME}\n`,
    );
    return false;
  }
  const before = await readHostState();
  let traces: Traces | undefined;
  try {
    await start(terminal, report);
    const mesh = new DemoMesh(settings, terminal.signal);
    for (const step of STEPS) {
      report.step(step.title);
      await step.run(mesh, report);
    }
    traces = tracesOfSandbox();
  } catch (error) {
    const reason: unknown = terminal.signal.aborted ? terminal.signal.reason : error;
    report.observe(false, printable(describeError(reason)));
    traces = tracesOfSandbox();
  }
  if (keep && report.failed.length === 0) {
    terminal.out(howToPlay());
  } else {
    report.step('14. Everything is removed');
    await stopSandbox(NAME);
    await observeRemoval(report, traces, before);
  }
  return finish(terminal, report, performance.now() - startedMs);
}

async function start(terminal: Terminal, report: Report): Promise<void> {
  const startedMs = performance.now();
  report.step('0. Two nodes, a control plane, and a shop with one server and three callers');
  const manifests = await readManifests([join(EXAMPLES, 'app.yaml')]);
  const unsettled = await startMesh(settings, manifests, READY_TIMEOUT_MS, terminal);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  report.observe(
    unsettled.length === 0,
    unsettled.length === 0 ? `ready after ${seconds} s` : `not ready: ${unsettled.join('; ')}`,
  );
}

function tracesOfSandbox(): Traces | undefined {
  const supervisor = runningSupervisor(NAME);
  return supervisor === undefined ? undefined : readTraces(supervisor.pid);
}

async function observeRemoval(
  report: Report,
  traces: Traces | undefined,
  before: HostState,
): Promise<void> {
  const changed = changedParts(before, await readHostState());
  const names = [...before.keys()].join(', ');
  report.observe(
    changed.length === 0,
    changed.length === 0
      ? `the host is as before: ${names}`
      : `changed on the host: ${changed.join(', ')}`,
  );
  if (traces === undefined) return;
  let left = remaining(traces);
  const isEmpty = (): boolean => left.processes.size + left.namespaces.size === 0;
  // The kernel takes a namespace apart after its last process has ended.
  for (let tries = 0; tries < 20 && !isEmpty(); tries++) {
    await delay(100);
    left = remaining(traces);
  }
  const counts = ({ processes, namespaces }: Traces): string =>
    `${processes.size} processes and ${namespaces.size} namespaces`;
  report.observe(isEmpty(), `the sandbox had ${counts(traces)}; left of them: ${counts(left)}`);
}

function finish(terminal: Terminal, report: Report, elapsedMs: number): boolean {
  const inTime = elapsedMs <= LIMIT_MS;
  const seconds = (elapsedMs / 1000).toFixed(1);
  if (!inTime) report.observe(false, `it took ${seconds} s, more than ${LIMIT_MS / 1000}`);
  if (report.failed.length === 0) {
    terminal.out(`\nEvery observation held (${seconds} s)\n`);
    return true;
  }
  terminal.out(`\n${report.failed.length} observations did not hold (${seconds} s):\n`);
  for (const failure of report.failed) terminal.out(`  ${failure}\n`);
  return false;
}

function howToPlay(): string {
  return `
The mesh is left running. Some things to try (halo is cli/bin/halo):
  export HALO_NAME=${NAME}
  halo status
  halo explain shop/visitor web.shop:80
  halo logs --part ztunnel-node-2 -f
  halo delete authorizationpolicy allow-customer -n shop
  halo exec shop/customer -- curl -s http://web.shop/
  halo explain shop/customer catalog.shop:80 --path /private
  halo tap catalog.shop
  halo label ns shop istio.io/dataplane-mode-
  halo port-forward svc/web 8080:80 -n shop
End it with:
  halo down --name ${NAME}
`;
}
