import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
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
import { writePrivate } from '../harness/private-file.ts';
import type { CertificateFiles } from '../peers/envoy.ts';

/** A proxy in each pod. What a control plane would send, files say: each sidecar looks at them again when they are replaced. */
export interface Sidecars {
  /** How many inotify instances each of them takes. */
  readonly inotifyInstances: number;
  /** What istio-init and a native sidecar are in a pod. */
  additions(pod: AppPod): Additions;
  /** Tells all sidecars where the pods of a service are. */
  setEndpoints(service: string, ips: readonly string[]): void;
  /** Tells all sidecars whether the probe is to be refused. */
  denyProbe(on: boolean): void;
}

/** Writes every file; pods may start from then on. @param folder one that the sidecars reach by the same path. */
export type SidecarsOf = new (
  folder: string,
  graph: CallGraph,
  endpoints: readonly AppEndpoint[],
) => Sidecars;

export type InboundRules = Readonly<{
  /** Accounts that may call; none: nobody may. */
  allow: readonly string[];
  deny: readonly string[];
}>;

/** Longer than any run. */
const CERTIFICATE_TTL_MS = 24 * 3_600_000;

/** Who may call the pods of each account. */
export function inboundRules(
  graph: CallGraph,
  denyProbe: boolean,
): ReadonlyMap<string, InboundRules> {
  const deny = denyProbe ? [PROBE] : [];
  return new Map([
    ...graph.services.map((service): [string, InboundRules] => [
      service.name,
      { allow: callersOf(service), deny },
    ]),
    [LATE, { allow: [LOAD], deny }],
    ...[LOAD, PROBE].map((name): [string, InboundRules] => [name, { allow: [], deny }]),
  ]);
}

/** A certificate of P-256 for each account, as the mesh's CA issues them. */
export function writeCertificates(
  folder: string,
  accounts: Iterable<string>,
): ReadonlyMap<string, CertificateFiles> {
  const ca = makeTestCa();
  const roots = writePrivate(folder, 'roots.pem', ca.rootPem);
  return new Map(
    Array.from(accounts, (account) => {
      const issued = ca.issue(identityOf(account), { ttlMs: CERTIFICATE_TTL_MS });
      const files = {
        chain: writePrivate(folder, `${account}-chain.pem`, issued.chainPem.join('\n')),
        key: writePrivate(folder, `${account}-key.pem`, issued.privateKeyPem),
        roots,
      };
      return [account, files];
    }),
  );
}

/** In one step, which is what sidecars watch for; nothing else is ever seen in the file's folder. */
export function replaceFile(path: string, text: string): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}.new`, text, { mode: 0o600 });
  renameSync(`${folder}.new`, path);
}
