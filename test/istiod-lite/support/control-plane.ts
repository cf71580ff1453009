import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startControlPlane, type ControlPlane } from '../../../istiod-lite/app.ts';
import { readConfig } from '../../../istiod-lite/config.ts';
import { DEFAULT_LOG_LEVELS, openLog } from '../../../mesh/runtime/log.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { makeTokenIssuer, type TestAccount, type TokenIssuer } from '../../support/tokens.ts';

export const ZTUNNEL: TestAccount = {
  ...{ namespace: 'istio-system', serviceAccount: 'ztunnel', podName: 'ztunnel-a' },
  ...{ podUid: 'uid-ztunnel-a', node: 'node-a' },
};

/** An object in the status file. */
type ObjectStatusFile = Readonly<{
  kind: string;
  name: string;
  parents?: readonly Readonly<{
    parentRef: object;
    controllerName: string;
    conditions: readonly Readonly<Record<string, unknown>>[];
  }>[];
}>;

/** A real control plane on a folder of its own, with what its callers need. */
export class TestControlPlane implements AsyncDisposable {
  readonly folder = new TemporaryFolder();
  readonly lines: string[] = [];
  readonly issuer: TokenIssuer = makeTokenIssuer();
  #stack = new AsyncDisposableStack();
  #running: ControlPlane | undefined;

  get running(): ControlPlane {
    if (this.#running === undefined) throw new Error('The control plane does not run');
    return this.#running;
  }

  get rootPem(): string {
    return readFileSync(this.path('root-cert.pem'), 'utf8');
  }

  path(name: string): string {
    return join(this.folder.path, name);
  }

  /** Starts it, or starts it again on the same folders. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<this> {
    mkdirSync(this.path('config'), { recursive: true });
    await this.issuer.writeKeySet(this.path('jwks.json'));
    const config = readConfig({
      CONFIG_DIRS: this.path('config'),
      CA_DIR: this.path('ca'),
      TOKEN_JWKS: this.path('jwks.json'),
      STATUS_DIR: this.path('status'),
      ROOT_CERT_FILE: this.path('root-cert.pem'),
      ...{ GRPC_PORT: '0', HTTP_PORT: '0', READY_PORT: '0' },
      ...env,
    });
    const log = openLog({
      format: 'text',
      levels: DEFAULT_LOG_LEVELS,
      writer: {
        write: (line) => {
          this.lines.push(line);
          return true;
        },
        flush: () => undefined,
      },
    });
    this.#running = await startControlPlane(config, { log, stack: this.#stack });
    return this;
  }

  async stop(): Promise<void> {
    this.#running = undefined;
    await this.#stack.disposeAsync();
    this.#stack = new AsyncDisposableStack();
  }

  /** Writes a file of the configuration whole, as an editor does. */
  write(name: string, text: string): void {
    const path = join(this.path('config'), name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.tmp`, text);
    renameSync(`${path}.tmp`, path);
  }

  /** What it says of objects. */
  readStatus(): Readonly<{ objects: readonly ObjectStatusFile[] }> {
    return JSON.parse(readFileSync(this.path('status/status.json'), 'utf8')) as {
      objects: ObjectStatusFile[];
    };
  }

  remove(name: string): void {
    rmSync(join(this.path('config'), name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.folder[Symbol.dispose]();
  }
}

/** A running pod. */
export function podYaml(
  name: string,
  options: Readonly<{ ip: string; labels?: string; node?: string; ready?: boolean }>,
): string {
  const { ip, labels = 'app: web', node = 'node-a', ready = true } = options;
  return `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, labels: { ${labels} } }
spec: { nodeName: ${node}, serviceAccountName: web }
status: { phase: Running, podIP: ${ip}, conditions: [{ type: Ready, status: "${ready ? 'True' : 'False'}" }] }
---
`;
}

/** @param waypoint the Gateway that it uses. */
export function serviceYaml(name: string, ip: string, waypoint?: string): string {
  const labels = waypoint === undefined ? '' : `, labels: { istio.io/use-waypoint: ${waypoint} }`;
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop${labels} }
spec: { clusterIP: ${ip}, selector: { app: ${name} }, ports: [{ port: 80 }] }
---
`;
}

export function denyYaml(name: string, from: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ source: { namespaces: [${from}] } }] }] }
---
`;
}

/** A Gateway of namespace shop that is ready. */
export function gatewayYaml(name: string, className = 'istio-waypoint'): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ${name}, namespace: shop }
spec: { gatewayClassName: ${className}, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
status: { addresses: [{ type: Hostname, value: ${name}.shop.svc.cluster.local }] }
---
`;
}

/** Starts one that has these files; in the tests of streams mostly SHOP_FILES. */
export async function startWith(
  files: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>> = {},
): Promise<TestControlPlane> {
  const made = new TestControlPlane();
  for (const [name, text] of Object.entries(files)) made.write(name, text);
  return await made.start(env);
}

/** A service with one pod, and a policy. */
export const SHOP_FILES = {
  'web.yaml': serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1' }),
  'policy.yaml': denyYaml('deny', 'evil'),
};
