import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { X509Certificate } from 'node:crypto';
import { watch } from 'node:fs';
import { join } from 'node:path';
import { describeError, MeshError } from '../base/errors.ts';
import { formatProblem, type ConfigProblem } from '../mesh/kubernetes/problem.ts';
import type { Log } from '../mesh/runtime/log.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { addProcessMetrics } from '../mesh/runtime/process-metrics.ts';
import { Readiness } from '../mesh/runtime/readiness.ts';
import { TokenAuthenticator } from './ca/authenticate.ts';
import { openAuthority, type OpenedAuthority } from './ca/open.ts';
import { certificateService } from './ca/server.ts';
import type { ControlPlaneConfig } from './config.ts';
import { ChangeJoiner } from './joiner.ts';
import { debugPages } from './pages.ts';
import { podDirectory } from './pod-directory.ts';
import { ServerCertificateSource } from './server-certificate.ts';
import { Snapshot } from './snapshot.ts';
import { FolderSource } from './sources/folder.ts';
import { LastGoodDatabase } from './sources/last-good.ts';
import { readKeptState, StatusFiles, writeWhole } from './status-files.ts';
import { Translator } from './translate/translator.ts';
import { VipAllocator } from './translate/vips.ts';
import { xdsMetrics } from './xds/metrics.ts';
import { XDS_SERVICE, XdsServer } from './xds/server.ts';
import { StreamLimiter } from './xds/stream-limiter.ts';

/** A reconnecting proxy names every resource that it holds: 100,000 names and versions are some 12 MB. */
const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;
/** As istiod's gRPC server, istio/istio pkg/keepalive. */
const GRPC_OPTIONS = {
  'grpc.max_receive_message_length': MAX_RECEIVE_BYTES,
  'grpc.max_concurrent_streams': 100_000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
};
/** A CA's files are written one after another; this long after the last event they are read. */
const CA_QUIET_MS = 100;

/** A control plane that runs. */
export type ControlPlane = Readonly<{
  grpcPort: number;
  metrics: Metrics;
  readiness: Readiness;
  xds: XdsServer;
  snapshot: Snapshot;
  pages: ReturnType<typeof debugPages>;
  /** Takes in what was written until now and returns the revision that has it. */
  refresh: () => Promise<number>;
  problems: () => readonly ConfigProblem[];
  ca: OpenedAuthority;
  /** Shows a certificate that the CA signs now. */
  renewCertificate: () => Promise<void>;
}>;

/** Starts all parts; what is opened goes onto `stack`. */
export async function startControlPlane(
  config: ControlPlaneConfig,
  { log, stack }: Readonly<{ log: Log; stack: AsyncDisposableStack }>,
): Promise<ControlPlane> {
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  const readiness = new Readiness();
  const configured = readiness.gate('configuration');
  const serving = readiness.gate('gRPC server');
  const authenticator = new TokenAuthenticator({
    ...{ keySetFile: config.tokenJwks, issuer: config.tokenIssuer },
    audiences: config.tokenAudiences,
    onProblem: (problem) => {
      log.scope('ca').error('cannot use the key set', { error: describeError(problem) });
    },
  });
  const kept = readKeptState(config.statusDir);
  const snapshot = new Snapshot(kept.revision);
  const vips = new VipAllocator(kept.vips);
  const meshLog = log.scope('config');
  const translator = new Translator(config, vips, (message) => {
    meshLog.error(message);
  });
  const xds = new XdsServer({
    ...{ translator, log: log.scope('xds'), metrics: xdsMetrics(metrics) },
    authenticate: (authorization) => authenticator.authenticate(authorization),
    trustedNodeAccounts: new Set(config.trustedNodeAccounts),
    limiter: new StreamLimiter(),
  });
  const status = new StatusFiles(config.statusDir, log.scope('status'), () => ({
    statuses: translator.statuses(),
    state: { revision: snapshot.revision, vips: vips.entries() },
  }));
  stack.use(status);
  const updates = metrics.counter('pilot_inbound_updates', 'Objects that changed');
  const joiner = stack.use(
    new ChangeJoiner((changes) => {
      const change = snapshot.apply(changes);
      if (change === undefined) return;
      updates.cell().value += change.changes.length;
      xds.push(translator.apply(snapshot, change));
      status.touch();
      meshLog.debug('revision', { revision: change.revision, changes: change.changes.length });
    }),
  );
  let problems: readonly ConfigProblem[] = [];
  const onTrouble = (message: string): void => {
    meshLog.error(message);
  };
  const lastGood =
    config.statusDir === undefined
      ? undefined
      : stack.use(new LastGoodDatabase(join(config.statusDir, 'last-good.db'), { onTrouble }));
  const source = stack.use(
    new FolderSource({
      ...{ folders: config.configDirs, onTrouble },
      ...(lastGood === undefined ? {} : { lastGood }),
    }),
  );
  await source.start({
    onChange: (changes) => {
      joiner.add(changes);
    },
    onProblems: (now) => {
      const known = new Set(problems.map(formatProblem));
      for (const problem of now) {
        const text = formatProblem(problem);
        if (known.has(text)) continue;
        meshLog.log(problem.severity === 'error' ? 'error' : 'warn', text);
      }
      problems = now;
    },
    // Until then nothing is served: what is missing would be told as gone to a proxy that still has it.
    onComplete: () => {
      joiner.flush();
      xds.open(snapshot.revision);
      configured.open();
    },
  });
  joiner.flush();

  const refresh = async (): Promise<number> => {
    await source.refresh();
    joiner.flush();
    return snapshot.revision;
  };

  const opened = await openCa(config, log, stack);
  const { authority } = opened;
  const counters = addCaMetrics(metrics, opened);
  const server = new Server(GRPC_OPTIONS);
  const ca = certificateService({
    ...{ authority, authenticator, pods: () => podDirectory(snapshot), count: counters },
    catchUp: refresh,
    rules: {
      trustDomain: config.trustDomain,
      trustedNodeAccounts: new Set(config.trustedNodeAccounts),
    },
    ttl: { defaultTtlMs: config.defaultTtlMs, maxTtlMs: config.maxTtlMs },
    log: (outcome) => {
      const caller =
        outcome.caller === undefined
          ? undefined
          : `${outcome.caller.namespace}/${outcome.caller.serviceAccount}`;
      const scope = log.scope('ca');
      if (outcome.kind === 'issued')
        scope.info('certificate issued', { identity: outcome.identity, caller });
      else
        scope.warn('certificate refused', { reason: outcome.reason, caller, peer: outcome.peer });
    },
  });
  server.addService(ca.definition, ca.implementation);
  server.addService(XDS_SERVICE, xds.implementation);
  const certificate = new ServerCertificateSource(authority, config.rootNamespace);
  await certificate.renew();
  stack.defer(
    authority.subscribeRoots(() => {
      // A root that is dropped takes the certificates that it signed with it.
      certificate.renew().catch((error: unknown) => {
        log.scope('ca').error('cannot renew our own certificate', { error: describeError(error) });
      });
    }),
  );
  const grpcPort = await listen(server, config.grpcPort, certificate.credentials());
  stack.defer(() => {
    server.forceShutdown();
  });
  serving.open();
  log.scope('istiod-lite').info('serving', { port: grpcPort, objects: snapshot.size });

  const pages = debugPages({ snapshot, translator, xds, refresh, problems: () => problems });
  return {
    ...{ grpcPort, metrics, readiness, xds, snapshot, pages, refresh },
    problems: () => problems,
    ca: opened,
    renewCertificate: () => certificate.renew(),
  };
}

/** Both families where the host has IPv6, else IPv4. */
async function listen(
  server: Server,
  port: number,
  credentials: ServerCredentials,
): Promise<number> {
  const bind = (address: string): Promise<number> =>
    new Promise((resolve, reject) => {
      server.bindAsync(address, credentials, (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
  try {
    return await bind(`[::]:${port}`);
  } catch {
    try {
      return await bind(`0.0.0.0:${port}`);
    } catch (cause) {
      throw new MeshError('ERR_LISTEN', 'local', `Cannot listen on gRPC port ${port}`, { cause });
    }
  }
}

/** Opens the CA, publishes its roots, and follows changes of one that is plugged in. */
async function openCa(
  config: ControlPlaneConfig,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<OpenedAuthority> {
  const { caDir, cacertsDir, trustDomain, rootCertFile } = config;
  const opened = await openAuthority({
    ...{ caDir, trustDomain },
    ...(cacertsDir === undefined ? {} : { cacertsDir }),
  });
  if (rootCertFile !== undefined)
    stack.defer(
      opened.authority.subscribeRoots((rootsPem) => {
        writeWhole(rootCertFile, rootsPem);
      }),
    );
  if (opened.kind === 'plugged-in' && cacertsDir !== undefined) {
    let timer: NodeJS.Timeout | undefined;
    const watcher = watch(cacertsDir, () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        try {
          opened.reload();
          log.scope('ca').info('reloaded the CA', { folder: cacertsDir });
        } catch (error) {
          // What was there stays in force.
          log.scope('ca').error('cannot reload the CA', { error: describeError(error) });
        }
      }, CA_QUIET_MS);
    });
    watcher.on('error', (error) => {
      log.scope('ca').error('cannot watch the CA', { error: describeError(error) });
    });
    stack.defer(() => {
      clearTimeout(timer);
      watcher.close();
    });
  }
  return opened;
}

function addCaMetrics(metrics: Metrics, { authority }: OpenedAuthority): (name: string) => void {
  const counters = new Map(
    [
      ...(['csr_count', 'authentication_failure_count', 'csr_parsing_err_count'] as const),
      ...(['csr_sign_err_count', 'success_cert_issuance_count'] as const),
    ].map((name) => {
      const full = `citadel_server_${name}`;
      return [full, metrics.counter(full, 'Certificate requests').cell()] as const;
    }),
  );
  const root = metrics.gauge('citadel_server_root_cert_expiry_timestamp', 'When the root ends');
  const chain = metrics.gauge('citadel_server_cert_chain_expiry_timestamp', 'When the CA ends');
  metrics.onCollect(() => {
    root.cell().value = Date.parse(new X509Certificate(authority.rootsPem).validTo) / 1000;
    chain.cell().value = authority.notAfterMs / 1000;
  });
  return (name) => {
    const cell = counters.get(name);
    if (cell !== undefined) cell.value++;
  };
}
