import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createSecureContext, rootCertificates } from 'node:tls';
import {
  CallCredentials,
  Channel,
  ChannelCredentials,
  Metadata,
  connectivityState,
  status,
  type ChannelOptions,
  type ServiceError,
} from '@grpc/grpc-js';
import { MeshError, describeError } from '../../base/errors.ts';
import {
  IstioCertificateServiceClient,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
} from './gen/ca.ts';
import { AggregatedDiscoveryServiceClient } from './gen/discovery.ts';

/** 5 s, as istio/ztunnel src/tls/control.rs. */
const CONTROL_PLANE_CONNECT_TIMEOUT_MS = 5_000;
/** A client that pings more often than each 15 s is sent away by Istio's server. */
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** 200 MiB, as istio/ztunnel src/xds/client.rs: a first answer holds the whole mesh. */
export const MAX_MESSAGE_BYTES = 200 * 1024 * 1024;
/** The first answer is large; the 64 KiB of HTTP/2's default would make it wait for acknowledgements. */
const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024;
const RECONNECT_MIN_MS = 50;
const RECONNECT_MAX_MS = 5_000;
/** Which name a control plane that is dialled by address must prove: the Service's, which its certificate always has. */
const DEFAULT_SERVER_NAME = 'istiod.istio-system.svc';

export type ControlPlaneOptions = Readonly<{
  /** `https://<host>:<port>`. */
  address: string;
  /** PEM of the roots that the server must chain to. */
  rootsPem: string;
  /** In place of the address's host. */
  serverName?: string;
  /** A path (it has a `/`), read for every call, or the token itself; absent: none is sent. */
  token?: string;
  clusterId: string;
  /** Added to every call. */
  headers?: ReadonlyMap<string, string>;
}>;

/** One connection to the control plane, with both services on it. It lives until it is disposed of. */
export class ControlPlane implements Disposable {
  readonly discovery: AggregatedDiscoveryServiceClient;
  readonly certificates: IstioCertificateServiceClient;
  readonly #channel: Channel;
  readonly #address: string;

  /** @throws {MeshError} ERR_CONTROL_PLANE_ADDRESS or ERR_CONTROL_PLANE_ROOTS */
  constructor(options: ControlPlaneOptions) {
    this.#address = options.address;
    const { target, host } = parseTarget(options.address);
    const credentials = makeCredentials(options);
    const serverName = options.serverName ?? (isIP(host) === 0 ? host : DEFAULT_SERVER_NAME);
    this.#channel = new Channel(target, credentials, channelOptions(serverName));
    const shared = { channelOverride: this.#channel };
    this.discovery = new AggregatedDiscoveryServiceClient(target, credentials, shared);
    this.certificates = new IstioCertificateServiceClient(target, credentials, shared);
  }

  /**
   * Begins to connect, and waits until that has worked or failed once; a call made after it then tells the reason.
   *
   * @throws {MeshError} ERR_CONTROL_PLANE_CONNECT after 5 s without an answer; the signal's reason when it is aborted.
   */
  async connect(options: Readonly<{ signal?: AbortSignal }> = {}): Promise<void> {
    const deadline = Date.now() + CONTROL_PLANE_CONNECT_TIMEOUT_MS;
    for (;;) {
      const state = this.#channel.getConnectivityState(true);
      if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
      await this.#stateChange(state, deadline, options.signal);
    }
  }

  /** Whether a connection stands now. */
  get connected(): boolean {
    return this.#channel.getConnectivityState(false) === connectivityState.READY;
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }

  async #stateChange(
    from: connectivityState,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const abort = (): void => {
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });
    this.#channel.watchConnectivityState(from, deadline, (error) => {
      if (error === undefined) resolve(undefined);
      else reject(connectError(this.#address));
    });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }
}

/**
 * Asks for a certificate.
 *
 * @param options.timeoutMs from the call to the answer.
 * @throws {MeshError} ERR_CA_REFUSED where the CA answered with a refusal, ERR_CA_UNAVAILABLE where it could not answer.
 */
export async function createCertificate(
  controlPlane: ControlPlane,
  request: IstioCertificateRequest,
  options: Readonly<{ timeoutMs: number; signal?: AbortSignal }>,
): Promise<IstioCertificateResponse> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<IstioCertificateResponse>();
  const deadline = Date.now() + options.timeoutMs;
  const call = controlPlane.certificates.createCertificate(
    request,
    new Metadata(),
    { deadline },
    (error, response) => {
      if (error === null) resolve(response);
      else reject(callError(error));
    },
  );
  const abort = (): void => {
    call.cancel();
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * The roots that a setting names: PEM itself, `SYSTEM`, or a path.
 *
 * @throws {MeshError} ERR_CONTROL_PLANE_ROOTS for a file that cannot be read.
 */
export async function readRoots(setting: string): Promise<string> {
  if (setting.includes('-----BEGIN')) return setting;
  if (setting === 'SYSTEM') return rootCertificates.join('\n');
  try {
    return await readFile(setting, 'utf8');
  } catch (cause) {
    const message = `Cannot read the roots of the control plane from ${setting}`;
    throw new MeshError('ERR_CONTROL_PLANE_ROOTS', 'local', message, { cause });
  }
}

function parseTarget(address: string): { target: string; host: string } {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== 'https:' || url.hostname === '' || url.pathname !== '/')
    throw new MeshError(
      'ERR_CONTROL_PLANE_ADDRESS',
      'local',
      `Cannot connect to control plane: found ${JSON.stringify(address)}, not https://<host>:<port>`,
    );
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { target: `dns:///${url.hostname}:${url.port || '443'}`, host };
}

function makeCredentials(options: ControlPlaneOptions): ChannelCredentials {
  let context;
  try {
    context = createSecureContext({ ca: options.rootsPem, minVersion: 'TLSv1.3' });
  } catch (cause) {
    const message = `Cannot connect to ${options.address}: the roots are no PEM certificates`;
    throw new MeshError('ERR_CONTROL_PLANE_ROOTS', 'local', message, { cause });
  }
  const call = CallCredentials.createFromMetadataGenerator((_call, callback) => {
    makeMetadata(options).then(
      (metadata) => {
        callback(null, metadata);
      },
      (error: unknown) => {
        callback(error instanceof Error ? error : new Error(describeError(error)));
      },
    );
  });
  return ChannelCredentials.createFromSecureContext(context).compose(call);
}

async function makeMetadata(options: ControlPlaneOptions): Promise<Metadata> {
  const metadata = new Metadata();
  metadata.set('clusterid', options.clusterId);
  for (const [name, value] of options.headers ?? []) metadata.set(name, value);
  if (options.token !== undefined)
    metadata.set('authorization', `Bearer ${await readToken(options.token)}`);
  return metadata;
}

async function readToken(setting: string): Promise<string> {
  if (!setting.includes('/')) return setting;
  try {
    return (await readFile(setting, 'utf8')).trim();
  } catch (cause) {
    const message = `Cannot read the service account token from ${setting}`;
    throw new MeshError('ERR_TOKEN_FILE', 'local', message, { cause });
  }
}

function channelOptions(serverName: string): ChannelOptions {
  return {
    'grpc.ssl_target_name_override': serverName,
    'grpc.default_authority': serverName,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    'grpc.initial_reconnect_backoff_ms': RECONNECT_MIN_MS,
    'grpc.max_reconnect_backoff_ms': RECONNECT_MAX_MS,
    // A channel of its own, so that new roots are looked at by a new connection.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
  };
}

function connectError(address: string): MeshError {
  const message = `Cannot connect to control plane ${address}: no answer in ${CONTROL_PLANE_CONNECT_TIMEOUT_MS} ms`;
  return new MeshError('ERR_CONTROL_PLANE_CONNECT', 'upstream', message);
}

const UNAVAILABLE: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.UNKNOWN,
  status.INTERNAL,
  status.RESOURCE_EXHAUSTED,
]);

function callError(error: ServiceError): MeshError {
  const code = UNAVAILABLE.has(error.code) ? 'ERR_CA_UNAVAILABLE' : 'ERR_CA_REFUSED';
  const found = `${status[error.code]}: ${error.details}`;
  return new MeshError(code, 'upstream', `Cannot get certificate from the CA: found ${found}`);
}
