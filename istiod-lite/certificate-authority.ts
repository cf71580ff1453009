import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, watch } from 'node:fs';
import { describeError, MeshError } from '../base/errors.ts';
import type { Clock } from '../certs/clock.ts';
import type { Log, Logger } from '../mesh/runtime/log.ts';
import type { Metrics } from '../mesh/runtime/metrics.ts';
import type { TokenAuthenticator } from './ca/authenticate.ts';
import type { PodDirectory } from './ca/authorize-request.ts';
import { openAuthority, type OpenedAuthority } from './ca/open.ts';
import { describeCa } from './ca/page.ts';
import { RotationSchedule } from './ca/rotation.ts';
import { serverNames } from './ca/server-names.ts';
import { certificateService, type CaOutcome, type CertificateService } from './ca/server.ts';
import { followAuthority, type ServerIdentity } from './ca/server-credentials.ts';
import type { ControlPlaneConfig } from './config.ts';
import { writeWhole } from './status-files.ts';

/** A CA's files are written one after another; this long after the last event they are read. */
const CA_QUIET_MS = 100;

export type CaParts = Readonly<{
  authenticator: TokenAuthenticator;
  pods: () => PodDirectory;
  /** Brings `pods` up to what was written until now. */
  catchUp: () => Promise<unknown>;
  metrics: Metrics;
  log: Log;
  clock: Clock;
  /** What is opened goes onto it. */
  stack: AsyncDisposableStack;
}>;

/** The mesh's CA, with what it serves and shows. */
export type RunningCa = Readonly<{
  opened: OpenedAuthority;
  service: CertificateService;
  /** Our own certificate. */
  identity: ServerIdentity;
  describe: () => unknown;
}>;

/** Opens the CA, publishes its roots, follows changes of one that is plugged in, and changes a self-made root in time. */
export async function startCa(config: ControlPlaneConfig, parts: CaParts): Promise<RunningCa> {
  const { clock, stack } = parts;
  const log = parts.log.scope('ca');
  const { caDir, cacertsDir, trustDomain, rootCertFile } = config;
  const opened = await openAuthority({
    ...{ caDir, trustDomain, now: clock.now },
    ...(cacertsDir === undefined ? {} : { cacertsDir }),
  });
  const { authority } = opened;
  if (rootCertFile !== undefined)
    stack.defer(
      authority.subscribeRoots((rootsPem) => {
        publishRoots(rootCertFile, rootsPem);
      }),
    );
  let rotation: RotationSchedule | undefined;
  if (opened.kind === 'self-made') {
    rotation = stack.use(rotationOf(opened, config, { log, clock }));
    await rotation.start();
  } else if (cacertsDir !== undefined) followFiles(cacertsDir, opened.reload, { log, stack });
  const identity = stack.use(
    await followAuthority(authority, serverNames(config.rootNamespace), {
      clock,
      onTrouble: (error) => {
        log.error('cannot renew our own certificate', { error: describeError(error) });
      },
    }),
  );
  const service = certificateService({
    ...{ authority, authenticator: parts.authenticator },
    ...{ pods: parts.pods, catchUp: parts.catchUp },
    count: addCaMetrics(parts.metrics, opened),
    rules: { trustDomain, trustedNodeAccounts: new Set(config.trustedNodeAccounts) },
    ttl: { defaultTtlMs: config.defaultTtlMs, maxTtlMs: config.maxTtlMs },
    log: (outcome) => {
      logOutcome(log, outcome);
    },
  });
  const describe = (): unknown => describeCa(opened, { identity, rotation });
  return { opened, service, identity, describe };
}

/**
 * @throws {MeshError} ERR_ROOT_CERT_FILE: clients would not trust us. What is there already is not written again, so that a
 *   restart needs no disk.
 */
function publishRoots(path: string, rootsPem: string): void {
  try {
    if (existsSync(path) && readFileSync(path, 'utf8') === rootsPem) return;
    writeWhole(path, rootsPem);
  } catch (cause) {
    const message = `Cannot publish the root certificates in ${path}`;
    throw new MeshError('ERR_ROOT_CERT_FILE', 'local', message, { cause });
  }
}

function rotationOf(
  { selfMade, rotate }: Extract<OpenedAuthority, { kind: 'self-made' }>,
  { maxTtlMs }: ControlPlaneConfig,
  { log, clock }: Readonly<{ log: Logger; clock: Clock }>,
): RotationSchedule {
  return new RotationSchedule({
    ...{ selfMade, rotate, clock, longestTtlMs: maxTtlMs },
    onStep: (step) => {
      log.info('root rotation', { step, phase: selfMade.phase });
    },
    onTrouble: (message) => {
      log.error(message);
    },
  });
}

/** What cannot be used is reported, and what was there stays in force. */
function followFiles(
  folder: string,
  reload: () => void,
  { log, stack }: Readonly<{ log: Logger; stack: AsyncDisposableStack }>,
): void {
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(folder, () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      try {
        reload();
        log.info('reloaded the CA', { folder });
      } catch (error) {
        log.error('cannot reload the CA', { error: describeError(error) });
      }
    }, CA_QUIET_MS);
  });
  watcher.on('error', (error) => {
    log.error('cannot watch the CA', { error: describeError(error) });
  });
  stack.defer(() => {
    clearTimeout(timer);
    watcher.close();
  });
}

function logOutcome(log: Logger, outcome: CaOutcome): void {
  const caller =
    outcome.caller === undefined
      ? undefined
      : `${outcome.caller.namespace}/${outcome.caller.serviceAccount}`;
  if (outcome.kind === 'issued')
    log.info('certificate issued', { identity: outcome.identity, caller });
  else log.warn('certificate refused', { reason: outcome.reason, caller, peer: outcome.peer });
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
