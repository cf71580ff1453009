import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { startChild, stopChild } from '../harness/child.ts';
import { writePrivate } from '../harness/private-file.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { clientCertificate } from '../l4/certificate.ts';
import { startHttpServers } from '../l4/http-servers.ts';
import { CLIENT_IDENTITY, SERVER_IDENTITY } from '../l4/places.ts';
import { Rig } from '../l4/rig.ts';
import { HTTP2_PORT, HTTP_PORT } from '../load/protocol.ts';
import { ENVOY, ENVOY_VERSION_COMMAND, envoyWaypoint } from '../peers/envoy.ts';
import { entryCommand } from './entry.ts';
import { firstAnswers } from './first-answer.ts';
import type { Job, Subject } from './job.ts';
import { WAYPOINT, WAYPOINT_IDENTITY, waypointYaml, WEB, webPort } from './mesh-objects.ts';
import { GRPC, HTTP1, HTTP2, MessageFile, PAGES, WORKS } from './works.ts';

/** The first of each entry's ports: one for each kind of work. */
const PORTS = { halo: 19_000, envoy: 19_100 } as const;
const SERVER_PORTS = { http1: HTTP_PORT, http2: HTTP2_PORT } as const;
const TRUST_DOMAIN = 'cluster.local';
/** Which waypoints add to answers, and node proxies do not. */
const READ_BY_WAYPOINT = 'x-envoy-upstream-service-time';

/**
 * A tunnel in, a route, a tunnel out: ours and Envoy between the same client, the same node proxy of the endpoint and the
 * same nginx.
 */
export async function startWaypointJob(stack: AsyncDisposableStack): Promise<Job> {
  checkEnvoy();
  const rig = stack.use(await Rig.start({}, waypointYaml()));
  await rig.settled();
  const servers = stack.use(await startHttpServers(rig, PAGES));
  const vip = await rig.serviceAddress(WEB);
  const envoyPids = await startEnvoy(rig, stack, vip);
  await startEntries(rig, stack, vip);
  const job: Omit<Job, 'subjects'> = {
    name: 'waypoint',
    notCompared: ['nginx and HAProxy as waypoints: they speak no HBONE'],
    messageFile: stack.use(new MessageFile()).path,
    enter: (command) => rig.enter('plain-client', command),
    requests: () => servers.requests('mesh-server'),
    askAtRate: (ask) => rig.client('plain-client').ask('requests', ask),
  };
  const pids = { halo: rig.pidsRunning('waypoint/main.ts'), envoy: envoyPids };
  const subjects = (['halo', 'envoy'] as const).map(
    (name): Subject => ({
      ...{ name, pids: pids[name] },
      port: (work) => PORTS[name] + WORKS.indexOf(work),
    }),
  );
  for (const subject of subjects) await firstAnswers(job, subject, READ_BY_WAYPOINT);
  return { ...job, subjects };
}

/** Before anything is started. @throws {Error} which says where to get it. */
function checkEnvoy(): void {
  const [program, ...args] = ENVOY_VERSION_COMMAND;
  if (spawnSync(program, args).status === 0) return;
  const how = 'run cli/preflight bench, or set ENVOY to the path of another one';
  throw new Error(`Cannot compare with Envoy: ${program} does not run; ${how}`);
}

/** Beside the mesh, with the client's certificate: the endpoint's node proxy lets it in. */
async function startEnvoy(
  rig: Rig,
  stack: AsyncDisposableStack,
  vip: string,
): Promise<readonly number[]> {
  const folder = stack.use(new TemporaryFolder('envoy')).path;
  const { chainPem, privateKeyPem, rootsPem } = await clientCertificate(rig);
  const server = rig.ip('mesh-server');
  const configuration = envoyWaypoint({
    listen: { host: rig.ip('plain-client'), port: HBONE_PORT },
    // Two kinds of work share a port.
    ways: [HTTP1, HTTP2, GRPC].map((work) => ({
      from: `${vip}:${webPort(work)}`,
      to: `${server}:${SERVER_PORTS[work.to]}`,
      version: work.to,
    })),
    endpoint: { host: server, port: HBONE_PORT, peer: SERVER_IDENTITY },
    certificate: {
      chain: writePrivate(folder, 'chain.pem', chainPem.join('\n')),
      key: writePrivate(folder, 'key.pem', privateKeyPem),
      roots: writePrivate(folder, 'roots.pem', rootsPem.join('\n')),
    },
    trustDomain: TRUST_DOMAIN,
    accessLog: join(folder, 'access.log'),
  });
  const file = writePrivate(folder, 'envoy.json', configuration);
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

async function startEntries(rig: Rig, stack: AsyncDisposableStack, vip: string): Promise<void> {
  const status = await rig.status();
  const pod = status.pods.find(({ serviceAccount }) => serviceAccount === WAYPOINT);
  const waypoint = pod?.addresses.find((address) => !address.includes(':')) ?? '';
  const certificate = await clientCertificate(rig);
  for (const [name, host, identity] of [
    ['halo', waypoint, WAYPOINT_IDENTITY],
    ['envoy', rig.ip('plain-client'), CLIENT_IDENTITY],
  ] as const) {
    const ways = WORKS.map((work, index) => ({
      ...{ listenPort: PORTS[name] + index, authority: `${vip}:${webPort(work)}` },
    }));
    const to = { host, port: HBONE_PORT };
    const command = entryCommand({ ways, to, peers: [identity], certificate });
    const child = startChild(rig.enter('plain-client', command));
    stack.defer(() => stopChild(child));
  }
}
