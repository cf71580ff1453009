import { join } from 'node:path';
import type { AppEndpoint } from '../ambient/application.ts';
import type { CertificateFiles } from '../peers/envoy.ts';
import type { InboundRules } from './sidecars.ts';

/*
 * What a sidecar of our own is told by files, all JSON. One says what does not change while it runs; policy and endpoints
 * are replaced, each in a folder that holds nothing else, which the sidecar watches.
 */

export const SIDECAR_PROGRAM = 'bench/sidecar/program/main.ts';

/** The program's environment. */
export const FOLDER_VARIABLE = 'SIDECAR_FOLDER';
export const ACCOUNT_VARIABLE = 'SERVICE_ACCOUNT';

/** What does not change. */
export type SidecarFile = Readonly<{
  /** Every service of the mesh. */
  services: readonly AppEndpoint[];
  certificate: CertificateFiles;
}>;

/** Who may call the pods of an account. */
export type PolicyFile = InboundRules;

/** The addresses of a service's pods. */
export type EndpointsFile = readonly string[];

export function sidecarFileName(account: string): string {
  return `sidecar-${account}.json`;
}

export function policyFolder(folder: string, account: string): string {
  return join(folder, 'policies', account);
}

/** Its only file. */
export const POLICY_FILE = 'policy.json';

export function endpointsFolder(folder: string): string {
  return join(folder, 'endpoints');
}

/** In that folder. */
export function endpointsFileName(service: string): string {
  return `${service}.json`;
}
