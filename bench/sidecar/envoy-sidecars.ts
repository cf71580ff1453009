import { join } from 'node:path';
import type { AppEndpoint, AppPod } from '../ambient/application.ts';
import type { CallGraph } from '../ambient/call-graph.ts';
import type { Additions } from '../ambient/mesh-objects.ts';
import { writePrivate } from '../harness/private-file.ts';
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
} from './envoy-config.ts';
import { inboundRules, replaceFile, writeCertificates, type Sidecars } from './sidecars.ts';

/** As Istio's pilot-agent starts it; two worker threads are its default, and old policy ends with the next answer. */
const ARGUMENTS = [
  ...['--concurrency', '2', '--drain-time-s', '45', '--drain-strategy', 'immediate'],
  ...['--disable-hot-restart', '--log-level', 'error'],
] as const;

/** An Envoy in each pod. */
export class EnvoySidecars implements Sidecars {
  readonly #folder: string;
  readonly #graph: CallGraph;
  readonly #endpoints: readonly AppEndpoint[];
  readonly #certificates: ReadonlyMap<string, CertificateFiles>;
  readonly #rulesFile: string;
  #version = 1;

  constructor(folder: string, graph: CallGraph, endpoints: readonly AppEndpoint[]) {
    this.#folder = folder;
    this.#graph = graph;
    this.#endpoints = endpoints;
    this.#rulesFile = writePrivate(folder, 'rules.nft', SIDECAR_RULES);
    this.#certificates = writeCertificates(folder, inboundRules(graph, false).keys());
    for (const { name } of endpoints) this.setEndpoints(name, []);
    for (const [account, files] of this.#certificates) {
      writePrivate(folder, `bootstrap-${account}.json`, bootstrap(account, folder));
      replaceFile(clustersFile(folder, account), clusters(endpoints, files, folder));
    }
    this.denyProbe(false);
  }

  /** One for each file that an Envoy follows: listeners, clusters, and the endpoints of every service. */
  get inotifyInstances(): number {
    return 2 + this.#endpoints.length;
  }

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

  setEndpoints(service: string, ips: readonly string[]): void {
    const text = endpointsOf(service, ips, this.#version++);
    replaceFile(endpointsFile(this.#folder, service), text);
  }

  denyProbe(on: boolean): void {
    const version = this.#version++;
    for (const [account, rules] of inboundRules(this.#graph, on)) {
      const files = this.#certificates.get(account);
      if (files === undefined) continue;
      const text = listeners(this.#endpoints, files, rules, version);
      replaceFile(listenersFile(this.#folder, account), text);
    }
  }
}
