import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { runChild, startChild, stopChild } from '../harness/child.ts';
import { processMemory, processorTimeUs } from '../harness/processes.ts';
import { measureRounds, type RoundResults, valuesOf } from '../harness/rounds.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { clientCertificate } from '../l4/certificate.ts';
import { startHttpServers, type HttpServers } from '../l4/http-servers.ts';
import { CLIENT_IDENTITY, SERVER_IDENTITY } from '../l4/places.ts';
import { readWrkErrors } from '../l4/requests.ts';
import { Rig } from '../l4/rig.ts';
import { HTTP_PORT } from '../load/protocol.ts';
import { ENVOY, ENVOY_VERSION_COMMAND, envoyWaypoint } from '../peers/envoy.ts';
import { entryCommand } from './entry.ts';
import { WAYPOINT, WAYPOINT_IDENTITY, waypointYaml, WEB, WEB_PORT } from './mesh-objects.ts';

/** Design, perf-W1: processor time against Envoy doing the same. */
const BUDGET = { must: 1.2, aim: 0.8 } as const;
const CONNECTIONS = [1, 32, 256] as const;
const BODIES = [
  { name: 'small', path: '/' },
  { name: '16 KiB', path: '/large' },
] as const;
/** From the client; the waypoint speaks HTTP/1.1 with the endpoint in either case. */
const VERSIONS = ['http1', 'http2'] as const;
type Version = (typeof VERSIONS)[number];
const VERSION_NAMES = { http1: 'HTTP/1.1', http2: 'HTTP/2' } as const;
/** Requests a second of the latencies: a part of what either can do. */
const RATE = 1000;
const RATE_CONNECTIONS = 32;
/** Of a measurement's milliseconds, so that 99.9 of 100 are more than a few. */
const RATE_LENGTH = 3;
const PORTS = { halo: 19001, envoy: 19002 } as const;
const TRUST_DOMAIN = 'cluster.local';
const START_TRIES = 100;

export type L7Settings = Readonly<{
  rounds: number;
  /** Of one measurement; and before it, until everything has got going. */
  ms: number;
  warmMs: number;
  note(text: string): void;
  onRows(rows: readonly Row[]): void;
}>;

type Subject = Readonly<{ name: keyof typeof PORTS; pids: readonly number[] }>;

/**
 * What does a request cost a waypoint: a tunnel in, a route, a tunnel out? Ours and Envoy between the same client, the
 * same node proxy of the endpoint and the same nginx.
 */
export async function runL7(settings: L7Settings): Promise<readonly Row[]> {
  checkEnvoy();
  settings.note('starting the mesh');
  await using rig = await Rig.start({}, waypointYaml());
  await rig.settled();
  await using stack = new AsyncDisposableStack();
  const servers = stack.use(await startHttpServers(rig, { large: 'x'.repeat(16 << 10) }));
  const subjects: Subject[] = [
    { name: 'halo', pids: rig.pidsRunning('waypoint/main.ts') },
    { name: 'envoy', pids: await startEnvoy(rig, stack) },
  ];
  await startEntries(rig, stack);
  for (const { name } of subjects)
    for (const { path } of BODIES)
      for (const version of VERSIONS) await load(rig, { name, version, connections: 32, path }, 2);
  const rows: Row[] = [];
  for (const version of VERSIONS)
    for (const body of BODIES)
      for (const connections of CONNECTIONS) {
        const plural = connections === 1 ? '' : 's';
        const name = `${VERSION_NAMES[version]}, ${connections} connection${plural}, ${body.name} body`;
        const asked = { version, connections, path: body.path };
        const results = await measureRounds(
          subjects.map((subject) => ({
            name: subject.name,
            measure: () => measure(settings, rig, servers, subject, asked),
          })),
          settings.rounds,
          (round, subject) => {
            settings.note(`${name}: round ${round + 1} of ${settings.rounds}, ${subject}`);
          },
        );
        for (const [value, metric, plan] of [
          [
            'cpuUs',
            // The budget is about HTTP/1.1.
            `${version === 'http1' ? 'perf-W1 ' : ''}processor time of a request in a waypoint, ${name}`,
            { unit: 'us', better: 'lower', ...(version === 'http1' && { budget: BUDGET }) },
          ],
          ['perSecond', `waypoint, rate, ${name}`, { unit: '1/s', better: 'higher' }],
          ['privateMb', `waypoint, private memory, ${name}`, { unit: 'MB', better: 'lower' }],
        ] as const)
          rows.push(makeRow({ metric, ...plan, ...sides(results, value) }));
        settings.onRows(rows);
      }
  for (const version of VERSIONS) rows.push(...(await askLatency(settings, rig, version)));
  settings.onRows(rows);
  return rows;
}

/** Before anything is started. @throws {Error} which says where to get it. */
function checkEnvoy(): void {
  const [program, ...args] = ENVOY_VERSION_COMMAND;
  if (spawnSync(program, args).status === 0) return;
  const how = 'run cli/preflight bench, or set ENVOY to the path of another one';
  throw new Error(`Cannot compare with Envoy: ${program} does not run; ${how}`);
}

type Sides = Pick<Parameters<typeof makeRow>[0], 'ours' | 'peer'>;

function sides(results: RoundResults<Subject['name']>, value: string): Sides {
  const peer = { name: 'envoy', values: valuesOf(results, 'envoy', value) };
  return { ours: valuesOf(results, 'halo', value), peer };
}

/** How long does an answer take at a fixed rate, counted from when its request was due? */
async function askLatency(settings: L7Settings, rig: Rig, version: Version): Promise<Row[]> {
  const name = `${VERSION_NAMES[version]}, ${RATE} requests a second on ${RATE_CONNECTIONS} connections`;
  const results = await measureRounds(
    (['halo', 'envoy'] as const).map((subject) => ({
      name: subject,
      measure: async () => {
        const { p50Us, p99Us, p999Us, errors } = await rig.client('plain-client').ask('requests', {
          ...{ host: '127.0.0.1', port: PORTS[subject], version, path: '/' },
          ...{ connections: RATE_CONNECTIONS, rate: RATE },
          count: Math.round((settings.ms * RATE_LENGTH * RATE) / 1000),
        });
        if (errors > 0) throw new Error(`Cannot measure latency: ${errors} requests failed`);
        return { p50Us, p99Us, p999Us };
      },
    })),
    settings.rounds,
    (round, subject) => {
      settings.note(`${name}: round ${round + 1} of ${settings.rounds}, ${subject}`);
    },
  );
  return ['p50', 'p99', 'p999'].map((which) =>
    makeRow({
      ...{ metric: `waypoint, latency, ${which.replace('999', '99.9')}, ${name}`, unit: 'us' },
      ...{ better: 'lower', ...sides(results, `${which}Us`) },
    }),
  );
}

/** Beside the mesh, with the client's certificate: the endpoint's node proxy lets it in. */
async function startEnvoy(rig: Rig, stack: AsyncDisposableStack): Promise<readonly number[]> {
  const folder = stack.use(new TemporaryFolder('envoy')).path;
  const write = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const { chainPem, privateKeyPem, rootsPem } = await clientCertificate(rig);
  const server = rig.ip('mesh-server');
  const configuration = envoyWaypoint({
    listen: { host: rig.ip('plain-client'), port: HBONE_PORT },
    endpoint: {
      ...{ host: server, port: HBONE_PORT, peer: SERVER_IDENTITY },
      authority: `${server}:${HTTP_PORT}`,
    },
    certificate: {
      chain: write('chain.pem', chainPem.join('\n')),
      key: write('key.pem', privateKeyPem),
      roots: write('roots.pem', rootsPem.join('\n')),
    },
    trustDomain: TRUST_DOMAIN,
    accessLog: join(folder, 'access.log'),
  });
  const file = write('envoy.json', configuration);
  const child = startChild(
    rig.enter('plain-client', [
      ...[ENVOY, '-c', file, '--concurrency', '1', '--log-level', 'error'],
      ...['--disable-hot-restart', '--base-id', '77'],
    ]),
  );
  stack.defer(() => stopChild(child));
  child.stdout.resume();
  return child.pid === undefined ? [] : [child.pid];
}

async function startEntries(rig: Rig, stack: AsyncDisposableStack): Promise<void> {
  const status = await rig.status();
  const pod = status.pods.find(({ serviceAccount }) => serviceAccount === WAYPOINT);
  const waypoint = pod?.addresses.find((address) => !address.includes(':')) ?? '';
  const certificate = await clientCertificate(rig);
  const authority = `${await rig.serviceAddress(WEB)}:${WEB_PORT}`;
  for (const [name, host, identity] of [
    ['halo', waypoint, WAYPOINT_IDENTITY],
    ['envoy', rig.ip('plain-client'), CLIENT_IDENTITY],
  ] as const) {
    const command = entryCommand({
      ...{ listenPort: PORTS[name], to: { host, port: HBONE_PORT }, peers: [identity] },
      ...{ authority, certificate },
    });
    const child = startChild(rig.enter('plain-client', command));
    stack.defer(() => stopChild(child));
    await firstAnswer(rig, name);
  }
}

/** @throws {Error} when what answers has not read the request: it would be measured for less than the other one does. */
async function firstAnswer(rig: Rig, name: Subject['name']): Promise<void> {
  const curl = ['curl', '-si', '-m', '5', `http://127.0.0.1:${PORTS[name]}/`];
  for (let tries = 1; ; tries++) {
    try {
      const answer = await runChild(rig.enter('plain-client', curl));
      if (!/^HTTP\/1\.1 200\b/.test(answer) || !/^x-envoy-upstream-service-time:/m.test(answer))
        throw new Error(`Cannot measure ${name}: it answers ${JSON.stringify(answer)}`);
      return;
    } catch (error) {
      if (tries === START_TRIES) throw error;
      await wait(50);
    }
  }
}

type Load = Readonly<{
  name: Subject['name'];
  version: Version;
  connections: number;
  path: string;
}>;

/** @throws {Error} when requests failed. */
async function load(
  rig: Rig,
  { name, version, connections, path }: Load,
  seconds: number,
): Promise<void> {
  const url = `http://127.0.0.1:${PORTS[name]}${path}`;
  const size = ['-t1', `-c${connections}`];
  const command =
    version === 'http1'
      ? ['wrk', ...size, `-d${seconds}s`, url]
      : ['h2load', ...size, '-m1', '-D', String(seconds), url];
  const report = await runChild(rig.enter('plain-client', command));
  const errors = version === 'http1' ? readWrkErrors(report) : readH2loadErrors(report);
  if (errors !== undefined) throw new Error(`Cannot count requests: ${errors}`);
}

/** h2load's own count of what went wrong; none when nothing did. */
export function readH2loadErrors(report: string): string | undefined {
  const line = /^requests: .*$/m.exec(report)?.[0] ?? '';
  const [, succeeded, failed, errored] =
    /(\d+) succeeded, (\d+) failed, (\d+) errored/.exec(line) ?? [];
  if (succeeded === undefined || succeeded === '0') return `no request succeeded: ${line}`;
  return failed === '0' && errored === '0' ? undefined : line;
}

async function measure(
  { ms, warmMs }: L7Settings,
  rig: Rig,
  servers: HttpServers,
  { name, pids }: Subject,
  asked: Omit<Load, 'name'>,
): Promise<Record<string, number>> {
  const loaded = load(rig, { name, ...asked }, Math.ceil((warmMs + ms + 500) / 1000));
  loaded.catch(() => undefined); // awaited below
  const count = async (): Promise<{ requests: number; cpuUs: number; atMs: number }> => ({
    requests: await servers.requests('mesh-server'),
    cpuUs: processorTimeUs(pids),
    atMs: performance.now(),
  });
  await wait(warmMs);
  const before = await count();
  await wait(ms);
  const after = await count();
  const privateMb = processMemory(pids).privateDirty / (1 << 20);
  await loaded;
  const requests = after.requests - before.requests;
  return {
    perSecond: (requests * 1000) / (after.atMs - before.atMs),
    cpuUs: (after.cpuUs - before.cpuUs) / requests,
    privateMb,
  };
}
