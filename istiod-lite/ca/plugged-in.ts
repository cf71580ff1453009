import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, MeshError } from '../../base/errors.ts';
import { makeMaterial, type CaMaterial } from './material.ts';

/** The names that Istio and cert-manager give to the files of a CA. */
const STYLES = [
  {
    certificate: 'ca-cert.pem',
    key: 'ca-key.pem',
    chain: 'cert-chain.pem',
    roots: 'root-cert.pem',
  },
  { certificate: 'tls.crt', key: 'tls.key', chain: 'tls.crt', roots: 'ca.crt' },
] as const;

/**
 * Loads a CA that somebody else made from a folder.
 *
 * @throws {MeshError} ERR_CA naming the files that are missing, or what does not fit.
 */
export function loadPluggedInCa(folder: string, nowMs: number): CaMaterial {
  const present = new Set(list(folder));
  const style = STYLES.find((names) => present.has(names.certificate)) ?? STYLES[0];
  const names = [...new Set(Object.values(style))];
  const missing = names.filter((name) => !present.has(name));
  if (missing.length > 0) {
    const wanted = STYLES.map((each) => [...new Set(Object.values(each))].join(', ')).join('; or ');
    throw caError(folder, `${missing.join(', ')} missing; it needs ${wanted}`);
  }
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  try {
    return makeMaterial(
      {
        certificatePem: read(style.certificate),
        privateKeyPem: read(style.key),
        chainPem: read(style.chain),
        rootsPem: read(style.roots),
      },
      nowMs,
    );
  } catch (cause) {
    throw caError(folder, `${names.join(', ')} that cannot be used`, cause);
  }
}

/** Whether a folder holds any of a CA's files, so that an incomplete one is an error and not a reason to make a root. */
export function hasPluggedInCa(folder: string): boolean {
  const known = new Set<string>(STYLES.flatMap((names) => Object.values(names)));
  return list(folder).some((name) => known.has(name));
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (cause) {
    // A folder that is not there is an empty one; one that cannot be read may hold the mesh's CA.
    if (errorCode(cause) === 'ENOENT') return [];
    throw caError(folder, 'a folder that cannot be listed', cause);
  }
}

function caError(folder: string, found: string, cause?: unknown): MeshError {
  return new MeshError('ERR_CA', 'local', `Cannot load CA from ${folder}: found ${found}`, {
    cause,
  });
}
