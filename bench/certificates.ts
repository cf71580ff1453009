/**
 * How many certificates does the CA issue per second on one core? Tokens, policy, request, signature, gRPC and TLS are
 * all in it; the client is a process of its own and does not count. Prints the processor time of each round.
 *
 *     node bench/certificates.ts [--json]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '@grpc/grpc-js';
import { makeCsr } from '../certs/csr.ts';
import { TokenAuthenticator } from '../istiod-lite/ca/authenticate.ts';
import { CertificateAuthority } from '../istiod-lite/ca/authority.ts';
import { certificateService } from '../istiod-lite/ca/server.ts';
import { followAuthority } from '../istiod-lite/ca/server-credentials.ts';
import { parseSpiffeId, parseTrustDomain } from '../mesh/model/identity.ts';
import { ControlPlane, createCertificate } from '../mesh/proto/grpc.ts';
import { ZTUNNEL, testMaterial } from '../test/support/ca-server.ts';
import { makeKeys, makeTestCa } from '../test/support/test-ca.ts';
import { TOKEN_AUDIENCE, TOKEN_ISSUER, makeTokenIssuer } from '../test/support/tokens.ts';

const REQUESTS = 6000;
const PARALLEL = 32;
const ROUNDS = 3;
const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');

const [role, ...args] = process.argv.slice(2);
if (role === 'client') await runClient(args);
else await runServer();

/** Asks for all certificates, some at once. */
async function runClient([
  address = '',
  rootsPem = '',
  token = '',
]: readonly string[]): Promise<void> {
  using controlPlane = new ControlPlane({ address, rootsPem, token, clusterId: 'Kubernetes' });
  const request = {
    csr: makeCsr(WEB, makeKeys()),
    validityDuration: 3600n,
    metadata: { ImpersonatedIdentity: WEB },
  };
  let left = REQUESTS;
  const ask = async (): Promise<void> => {
    while (left-- > 0) await createCertificate(controlPlane, request, { timeoutMs: 30_000 });
  };
  await Promise.all(Array.from({ length: PARALLEL }, ask));
}

async function runServer(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'halo-bench-'));
  const keySetFile = join(folder, 'keys.json');
  const issuer = makeTokenIssuer();
  await issuer.writeKeySet(keySetFile);
  const ca = makeTestCa();
  const authority = new CertificateAuthority(testMaterial(ca));
  const rules = { keySetFile, issuer: TOKEN_ISSUER, audiences: [TOKEN_AUDIENCE] };
  let issued = 0;
  const { definition, implementation } = certificateService({
    ...{ authority, authenticator: new TokenAuthenticator(rules) },
    pods: () => ({
      pod: () => ({
        uid: ZTUNNEL.podUid,
        serviceAccount: 'ztunnel',
        node: 'node-a',
        phase: 'Running',
      }),
      hasPodOn: () => true,
    }),
    rules: {
      trustDomain: parseTrustDomain('cluster.local'),
      trustedNodeAccounts: new Set(['istio-system/ztunnel']),
    },
    ttl: { defaultTtlMs: 86_400_000, maxTtlMs: 90 * 86_400_000 },
    count: () => undefined,
    log: ({ kind }) => {
      if (kind === 'issued') issued++;
    },
  });
  const server = new Server();
  server.addService(definition, implementation);
  const names = { dnsNames: ['istiod.istio-system.svc'], ips: [] };
  const { credentials } = await followAuthority(authority, names);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const token = await issuer.token(ZTUNNEL);
  const clientArgs = ['client', `https://127.0.0.1:${port}`, authority.rootsPem, token];
  const asJson = process.argv.includes('--json');
  const rates: number[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const before = process.cpuUsage();
    issued = 0;
    await once(fork(import.meta.filename, clientArgs), 'exit');
    const { user, system } = process.cpuUsage(before);
    const each = (user + system) / issued;
    const rate = Math.round(1e6 / each);
    rates.push(rate);
    if (!asJson)
      console.log(
        `round ${round}: ${issued} certificates, ${each.toFixed(0)} us each, ${rate}/s a core`,
      );
  }
  if (asJson) console.log(JSON.stringify({ perSecond: rates }));
  server.forceShutdown();
  rmSync(folder, { recursive: true });
}
