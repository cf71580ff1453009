import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '@grpc/grpc-js';
import type { ExecutionContext } from 'ava';
import type { CaClientOptions } from '../../certs/ca-client.ts';
import { privateKeyPem } from '../../certs/keys.ts';
import { TokenAuthenticator } from '../../istiod-lite/ca/authenticate.ts';
import { CertificateAuthority } from '../../istiod-lite/ca/authority.ts';
import type { PodDirectory } from '../../istiod-lite/ca/authorize-request.ts';
import { makeMaterial, type CaMaterial } from '../../istiod-lite/ca/material.ts';
import { followAuthority } from '../../istiod-lite/ca/server-credentials.ts';
import { certificateService, type CaCounter, type CaOutcome } from '../../istiod-lite/ca/server.ts';
import { parseTrustDomain } from '../../mesh/model/identity.ts';
import { makeTestCa, type TestCa } from './test-ca.ts';
import { TOKEN_AUDIENCE, TOKEN_ISSUER, type TestAccount, type TokenIssuer } from './tokens.ts';

const DAY = 86_400_000;

/** Whose token the client has. */
export const ZTUNNEL: TestAccount = {
  namespace: 'istio-system',
  serviceAccount: 'ztunnel',
  podName: 'ztunnel-a',
  podUid: 'uid-1',
  node: 'node-a',
};

export type CaServer = Readonly<{
  address: string;
  rootsPem: string;
  authority: CertificateAuthority;
  outcomes: CaOutcome[];
  counters: CaCounter[];
  token: string;
  clientOptions: CaClientOptions;
  /** Ends the server with all its connections. */
  stop: () => void;
  /** Serves on the same port again. */
  restart: () => Promise<void>;
}>;

/** The material of a CA that signs with its last intermediate. */
export function testMaterial(ca: TestCa, rootsPem: readonly string[] = [ca.rootPem]): CaMaterial {
  return makeMaterial(
    {
      certificatePem: ca.intermediatesPem[0] ?? ca.rootPem,
      privateKeyPem: privateKeyPem(ca.keys.privateKey),
      chainPem: ca.intermediatesPem.join(''),
      rootsPem: rootsPem.join(''),
    },
    Date.now(),
  );
}

/**
 * A whole CA service on a port of loopback, over TLS, for the node proxy of node-a.
 *
 * @param accounts `<namespace>/<service account>` of the pods on that node.
 */
export async function startCaServer(
  t: ExecutionContext,
  issuer: TokenIssuer,
  accounts: readonly string[] = ['shop/web'],
  ca: TestCa = makeTestCa({ intermediates: 1 }),
): Promise<CaServer> {
  const folder = mkdtempSync(join(tmpdir(), 'halo-ca-'));
  const keySetFile = join(folder, 'keys.json');
  await issuer.writeKeySet(keySetFile);
  const authority = new CertificateAuthority(testMaterial(ca));
  const outcomes: CaOutcome[] = [];
  const counters: CaCounter[] = [];
  const rules = { keySetFile, issuer: TOKEN_ISSUER, audiences: [TOKEN_AUDIENCE] };
  const { definition, implementation } = certificateService({
    ...{ authority, authenticator: new TokenAuthenticator(rules), pods: () => podsOf(accounts) },
    rules: {
      trustDomain: parseTrustDomain('cluster.local'),
      trustedNodeAccounts: new Set(['istio-system/ztunnel']),
    },
    ttl: { defaultTtlMs: DAY, maxTtlMs: 90 * DAY },
    count: (counter) => counters.push(counter),
    log: (outcome) => outcomes.push(outcome),
  });
  const names = { dnsNames: ['istiod.istio-system.svc', 'localhost'], ips: [] };
  const { credentials } = await followAuthority(authority, names);
  let server: Server;
  const serve = (port: number): Promise<number> => {
    server = new Server();
    server.addService(definition, implementation);
    return new Promise((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
  };
  const port = await serve(0);
  const stop = (): void => {
    server.forceShutdown();
  };
  t.teardown(() => {
    stop();
    rmSync(folder, { recursive: true });
  });
  const address = `https://127.0.0.1:${port}`;
  const token = await issuer.token(ZTUNNEL);
  const clientOptions = {
    ...{ address, token, roots: ca.rootPem, clusterId: 'Kubernetes' },
    ...{ ttlSeconds: 3600, impersonate: true },
  };
  const restart = async (): Promise<void> => {
    await serve(port);
  };
  const parts = { address, rootsPem: ca.rootPem, authority, outcomes, counters, token };
  return { ...parts, clientOptions, stop, restart };
}

function podsOf(accounts: readonly string[]): PodDirectory {
  const { namespace, podName, podUid, serviceAccount, node } = ZTUNNEL;
  return {
    pod: (ofNamespace, name) =>
      ofNamespace === namespace && name === podName
        ? { uid: podUid, serviceAccount, node, phase: 'Running' }
        : undefined,
    hasPodOn: (onNode, ofNamespace, ofAccount) =>
      onNode === node && accounts.includes(`${ofNamespace}/${ofAccount}`),
  };
}
