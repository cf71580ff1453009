import { jsonPage, openAdminServer, textPage, type AdminRoute } from '../../mesh/admin/server.ts';
import { metricsRoutes } from '../../mesh/admin/standard-routes.ts';
import { watchLoop } from '../../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { addProcessMetrics } from '../../mesh/runtime/process-metrics.ts';
import type { ProgramContext } from '../../mesh/runtime/program.ts';
import { serveListeners } from '../../mesh/zds/listeners.ts';
import { ZdsServer } from '../../mesh/zds/server.ts';
import { prepareNetns } from '../../net/netns.ts';
import type { AgentConfig } from './config.ts';
import { Enrolments } from './enrolments.ts';
import { pluginRoutes } from './plugin-server.ts';
import { SandboxPods } from './sandbox-pods.ts';

/** Joins the agent's parts: pods in, rules and namespaces out. */
export async function startAgent(context: ProgramContext<AgentConfig>): Promise<void> {
  const { config, log, stack, stopping } = context;
  const logger = log.scope('node-agent');
  const say = (message: string): void => {
    logger.info(message);
  };
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  stack.use(watchLoop({ metrics, thread: 'control', logger }));
  await prepareNetns();
  const zds: ZdsServer = new ZdsServer({
    path: config.zdsSocket,
    snapshot: () => enrolments.snapshot(),
    onSnapshotSent: (failures) => {
      enrolments.confirmSnapshot(new Set(failures.map(({ uid }) => uid)));
    },
    log: say,
  });
  stack.defer(() => {
    zds.close();
  });
  const source = new SandboxPods(config.controlSocket, config.nodeName, {
    onPods: (pods) => {
      enrolments.update(pods);
    },
    log: say,
  });
  stack.defer(() => {
    source.close();
  });
  const { dnsCapture, ipv6 } = config;
  const enrolments: Enrolments = new Enrolments({ source, zds, dnsCapture, ipv6, log: say });
  stack.defer(() => {
    enrolments.close();
  });
  const listeners = serveListeners({
    path: config.listenersSocket,
    open: (uid, socket) => enrolments.listenersOf(uid).open(socket),
    adopt(uid, socket, listener) {
      enrolments.adopt(uid, socket, listener);
    },
    log: say,
  });
  stack.defer(() => {
    listeners.close();
  });
  const plugin = { kind: 'unix', path: config.pluginSocket } as const;
  stack.use(
    await openAdminServer({
      listen: [plugin],
      routes: pluginRoutes(enrolments, stopping),
      logger,
    }),
  );
  if (config.adminSocket === '') return;
  stack.use(
    await openAdminServer({
      listen: [{ kind: 'unix', path: config.adminSocket }],
      routes: [...adminRoutes(enrolments, zds), ...metricsRoutes(() => [metrics.snapshot()])],
      logger,
    }),
  );
}

function adminRoutes(enrolments: Enrolments, zds: ZdsServer): AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/readyz',
      description: '200 once the pods of this node are known and worked through',
      handle: () =>
        enrolments.synced ? textPage('ready\n') : textPage('the pods are not known yet\n', 503),
    },
    {
      method: 'GET',
      path: '/pods',
      description: 'The captured pods, and whether a proxy has them',
      handle: () => jsonPage({ proxyConnected: zds.connected, pods: enrolments.describe() }),
    },
  ];
}
