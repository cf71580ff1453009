import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { runChild, startChild, stopChild } from '../harness/child.ts';
import { processMemory, processorTimeUs } from '../harness/processes.ts';
import { measureRounds, valuesOf } from '../harness/rounds.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { clientCertificate } from '../l4/certificate.ts';
import { startHttpServers, type HttpServers } from '../l4/http-servers.ts';
import { CLIENT_IDENTITY, SERVER_IDENTITY } from '../l4/places.ts';
import { readWrkErrors } from '../l4/requests.ts';
import { Rig } from '../l4/rig.ts';
import { HTTP_PORT } from '../load/protocol.ts';
import { ENVOY, envoyWaypoint } from '../peers/envoy.ts';
import { entryCommand } from './entry.ts';
import { WAYPOINT, WAYPOINT_IDENTITY, waypointYaml, WEB, WEB_PORT } from './mesh-objects.ts';

/** Design, perf-W1: processor time against Envoy doing the same. */
const BUDGET = { must: 1.2, aim: 0.8 } as const;
const CONNECTIONS = [1, 32, 256] as const;
const BODIES = [
  { name: 'small', path: '/' },
  { name: '16 KiB', path: '/large' },
] as const;
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
    for (const { path } of BODIES) await load(rig, name, 32, path, 2);
  const rows: Row[] = [];
  for (const body of BODIES)
    for (const connections of CONNECTIONS) {
      const name = `${connections} connection${connections === 1 ? '' : 's'}, ${body.name} body`;
      const results = await measureRounds(
        subjects.map((subject) => ({
          name: subject.name,
          measure: () => measure(settings, rig, servers, subject, connections, body.path),
        })),
        settings.rounds,
        (round, subject) => {
          settings.note(`${name}: round ${round + 1} of ${settings.rounds}, ${subject}`);
        },
      );
      for (const [value, metric, plan] of [
        [
          'cpuUs',
          `perf-W1 processor time of a request in a waypoint, ${name}`,
          { unit: 'us', better: 'lower', budget: BUDGET },
        ],
        ['perSecond', `waypoint, rate, ${name}`, { unit: '1/s', better: 'higher' }],
        ['privateMb', `waypoint, private memory, ${name}`, { unit: 'MB', better: 'lower' }],
      ] as const) {
        const peer = { name: 'envoy', values: valuesOf(results, 'envoy', value) };
        rows.push(makeRow({ metric, ...plan, ours: valuesOf(results, 'halo', value), peer }));
      }
      settings.onRows(rows);
    }
  return rows;
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

async function load(
  rig: Rig,
  name: Subject['name'],
  connections: number,
  path: string,
  seconds: number,
): Promise<string> {
  return await runChild(
    rig.enter('plain-client', [
      ...['wrk', '-t1', `-c${connections}`, `-d${seconds}s`],
      `http://127.0.0.1:${PORTS[name]}${path}`,
    ]),
  );
}

async function measure(
  { ms, warmMs }: L7Settings,
  rig: Rig,
  servers: HttpServers,
  { name, pids }: Subject,
  connections: number,
  path: string,
): Promise<Record<string, number>> {
  const loaded = load(rig, name, connections, path, Math.ceil((warmMs + ms + 500) / 1000));
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
  const errors = readWrkErrors(await loaded);
  if (errors !== undefined) throw new Error(`Cannot count requests: ${errors}`);
  const requests = after.requests - before.requests;
  return {
    perSecond: (requests * 1000) / (after.atMs - before.atMs),
    cpuUs: (after.cpuUs - before.cpuUs) / requests,
    privateMb,
  };
}
