import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeTestCa } from '../../test/support/test-ca.ts';
import {
  callersOf,
  identityOf,
  LATE,
  LOAD,
  PROBE,
  type AppEndpoint,
  type AppPod,
} from '../ambient/application.ts';
import type { CallGraph } from '../ambient/call-graph.ts';
import type { Additions } from '../ambient/mesh-objects.ts';
import { ENVOY, type CertificateFiles } from '../peers/envoy.ts';
import { afterSidecar, SIDECAR_RULES } from './capture.ts';
import {
  bootstrap,
  clusters,
  clustersFile,
  endpointsFile,
  endpointsOf,
  listeners,
  listenersFile,
  type InboundRules,
} from './envoy-config.ts';

/** As Istio's pilot-agent starts it; two worker threads are its default, and old policy ends with the next answer. */
const ARGUMENTS = [
  ...['--concurrency', '2', '--drain-time-s', '45', '--drain-strategy', 'immediate'],
  ...['--disable-hot-restart', '--log-level', 'error'],
] as const;
/** Longer than any run. */
const CERTIFICATE_TTL_MS = 24 * 3_600_000;

/** An Envoy in each pod. What a control plane would send, files say: Envoy looks at them again when they are replaced. */
export class EnvoySidecars {
  readonly #folder: string;
  readonly #endpoints: readonly AppEndpoint[];
  readonly #rules: ReadonlyMap<string, InboundRules>;
  readonly #certificates = new Map<string, CertificateFiles>();
  readonly #rulesFile: string;
  #version = 1;

  /** Writes every file; pods may start from then on. */
  constructor(folder: string, graph: CallGraph, endpoints: readonly AppEndpoint[]) {
    this.#folder = folder;
    this.#endpoints = endpoints;
    this.#rules = new Map([
      ...graph.services.map((service): [string, InboundRules] => [
        service.name,
        { allow: callersOf(service), deny: [] },
      ]),
      [LATE, { allow: [LOAD], deny: [] }],
      ...[LOAD, PROBE].map((name): [string, InboundRules] => [name, { allow: [], deny: [] }]),
    ]);
    this.#rulesFile = this.#write('rules.nft', SIDECAR_RULES);
    this.#writeCertificates();
    for (const { name } of endpoints) this.setEndpoints(name, []);
    for (const [account, files] of this.#certificates) {
      this.#write(`bootstrap-${account}.json`, bootstrap(account, folder));
      replaceFile(clustersFile(folder, account), clusters(endpoints, files, folder));
    }
    this.#writeListeners(false);
  }

  /** How many files each of them follows: listeners, clusters, and the endpoints of every service. */
  get followedFiles(): number {
    return 2 + this.#endpoints.length;
  }

  /** What istio-init and a native sidecar are in a pod. */
  additions({ account }: AppPod): Additions {
    const envoy = [...[ENVOY, '-c', join(this.#folder, `bootstrap-${account}.json`)], ...ARGUMENTS];
    return {
      initContainers: [
        { name: 'istio-init', image: 'nft', command: ['nft', '-f', this.#rulesFile] },
        { name: 'istio-proxy', image: 'envoy', restartPolicy: 'Always', command: envoy },
      ],
      wrap: afterSidecar,
    };
  }

  /** Tells all sidecars where the pods of a service are. */
  setEndpoints(service: string, ips: readonly string[]): void {
    const text = endpointsOf(service, ips, this.#version++);
    replaceFile(endpointsFile(this.#folder, service), text);
  }

  /** Tells all sidecars whether the probe is to be refused. */
  denyProbe(on: boolean): void {
    this.#writeListeners(on);
  }

  #writeListeners(denyProbe: boolean): void {
    const version = this.#version++;
    for (const [account, files] of this.#certificates) {
      const { allow = [] } = this.#rules.get(account) ?? {};
      const rules = { allow, deny: denyProbe ? [PROBE] : [] };
      const text = listeners(this.#endpoints, files, rules, version);
      replaceFile(listenersFile(this.#folder, account), text);
    }
  }

  /** P-256, as the mesh's CA issues them. */
  #writeCertificates(): void {
    const ca = makeTestCa();
    const roots = this.#write('roots.pem', ca.rootPem);
    for (const account of this.#rules.keys()) {
      const issued = ca.issue(identityOf(account), { ttlMs: CERTIFICATE_TTL_MS });
      this.#certificates.set(account, {
        chain: this.#write(`${account}-chain.pem`, issued.chainPem.join('\n')),
        key: this.#write(`${account}-key.pem`, issued.privateKeyPem),
        roots,
      });
    }
  }

  #write(name: string, text: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }
}

/** In one step, which is also what Envoy watches for. */
function replaceFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}
