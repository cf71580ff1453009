import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { compileCache } from '../../deploy/sandbox/compile-cache.ts';
import { programCommand } from '../../mesh/runtime/program-command.ts';
import type { AppEndpoint, AppPod } from '../ambient/application.ts';
import type { CallGraph } from '../ambient/call-graph.ts';
import type { Additions } from '../ambient/mesh-objects.ts';
import { writePrivate } from '../harness/private-file.ts';
import { afterSidecar, SIDECAR_RULES } from './capture.ts';
import {
  ACCOUNT_VARIABLE,
  endpointsFileName,
  endpointsFolder,
  FOLDER_VARIABLE,
  POLICY_FILE,
  policyFolder,
  SIDECAR_PROGRAM,
  sidecarFileName,
  type EndpointsFile,
  type PolicyFile,
  type SidecarFile,
} from './halo-files.ts';
import { inboundRules, replaceFile, writeCertificates, type Sidecars } from './sidecars.ts';

/**
 * One of the three semi-spaces in which V8 has young objects. A data thread of a node's proxy has 4 MB; for what one pod
 * sends, more than this costs memory and saves no processor time.
 */
const SEMI_SPACE_MB = 1;

/** As our proxies are started. */
const COMMAND: readonly string[] = programCommand(
  join(import.meta.dirname, '../..', SIDECAR_PROGRAM),
  [`--max-semi-space-size=${SEMI_SPACE_MB}`],
);

/** A proxy of our own engine in each pod. */
export class HaloSidecars implements Sidecars {
  /** One follows everything. */
  readonly inotifyInstances = 1;
  readonly #folder: string;
  readonly #graph: CallGraph;
  readonly #rulesFile: string;

  constructor(folder: string, graph: CallGraph, endpoints: readonly AppEndpoint[]) {
    this.#folder = folder;
    this.#graph = graph;
    this.#rulesFile = writePrivate(folder, 'rules.nft', SIDECAR_RULES);
    const accounts = inboundRules(graph, false).keys();
    for (const [account, certificate] of writeCertificates(folder, accounts)) {
      const file: SidecarFile = { services: endpoints, certificate };
      writePrivate(folder, sidecarFileName(account), JSON.stringify(file));
    }
    for (const { name } of endpoints) this.setEndpoints(name, []);
    this.denyProbe(false);
    warmCompileCache(folder);
  }

  additions({ account }: AppPod): Additions {
    const env = [
      { name: FOLDER_VARIABLE, value: this.#folder },
      { name: ACCOUNT_VARIABLE, value: account },
    ];
    return {
      initContainers: [
        { name: 'istio-init', image: 'nft', command: ['nft', '-f', this.#rulesFile] },
        ...[{ name: 'istio-proxy', image: 'halo', restartPolicy: 'Always', command: COMMAND, env }],
      ],
      wrap: afterSidecar,
    };
  }

  setEndpoints(service: string, ips: EndpointsFile): void {
    const path = join(endpointsFolder(this.#folder), endpointsFileName(service));
    replaceFile(path, JSON.stringify(ips));
  }

  denyProbe(on: boolean): void {
    for (const [account, rules] of inboundRules(this.#graph, on)) {
      const file: PolicyFile = rules;
      replaceFile(join(policyFolder(this.#folder, account), POLICY_FILE), JSON.stringify(file));
    }
  }
}

/** Otherwise a hundred processes that start at once each compile a program that was just changed, and keep the compiler. */
function warmCompileCache(folder: string): void {
  const [node = '', ...program] = COMMAND;
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache(folder) };
  execFileSync(node, [...program, '--help'], { env, stdio: 'ignore' });
}
