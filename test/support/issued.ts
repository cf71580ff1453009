import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { acceptChain } from '../../certs/ca-client.ts';
import { checkChain } from '../../certs/chain.ts';
import { publicKeyDer } from '../../certs/keys.ts';
import type { CertificateAuthority } from '../../istiod-lite/ca/authority.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { makeKeys } from './test-ca.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const HOUR = 3_600_000;

export function makeFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-root-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** What a proxy makes of an answer of this CA now. */
export function fetch(authority: CertificateAuthority): WorkloadCertificate {
  const keys = makeKeys();
  return acceptChain(
    authority.issue(WEB, publicKeyDer(keys.publicKey), HOUR),
    WEB,
    keys,
    Date.now(),
  );
}

/** Whether each of two peers accepts the other, as TLS would: by the chain and its own roots. */
export function accept(one: WorkloadCertificate, other: WorkloadCertificate): boolean {
  try {
    checkChain(one.chainPem, other.rootsPem, Date.now());
    checkChain(other.chainPem, one.rootsPem, Date.now());
    return true;
  } catch {
    return false;
  }
}
