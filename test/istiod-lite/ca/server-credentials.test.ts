import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Server, status, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { openAuthority } from '../../../istiod-lite/ca/open.ts';
import { followAuthority } from '../../../istiod-lite/ca/server-credentials.ts';
import { parseTrustDomain } from '../../../mesh/model/identity.ts';
import {
  IstioCertificateServiceService,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
} from '../../../mesh/proto/gen/ca.ts';
import { ControlPlane, createCertificate } from '../../../mesh/proto/grpc.ts';

test('the control plane serves through a rotation of its root: old connections go on, new roots get in', async (t) => {
  const caDir = mkdtempSync(join(tmpdir(), 'halo-credentials-'));
  const opened = await openAuthority({ caDir, trustDomain: parseTrustDomain('cluster.local') });
  if (opened.kind !== 'self-made') throw new Error('Cannot be plugged in');
  const { authority, rotate } = opened;
  const names = { dnsNames: ['istiod.istio-system.svc'], ips: [] };
  const server = new Server();
  server.addService(IstioCertificateServiceService, {
    createCertificate: (
      call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
      callback: sendUnaryData<IstioCertificateResponse>,
    ) => {
      if (call.request.csr === 'fail') callback({ code: status.INTERNAL });
      else callback(null, { certChain: [call.getPeer()] });
    },
  });
  const credentials = await followAuthority(authority, names);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  t.teardown(() => {
    server.forceShutdown();
    rmSync(caDir, { recursive: true });
  });
  const address = `https://127.0.0.1:${port}`;
  const open = (): ControlPlane =>
    new ControlPlane({ address, rootsPem: authority.rootsPem, clusterId: 'Kubernetes' });
  const call = async (controlPlane: ControlPlane): Promise<string> => {
    const request = { csr: '', validityDuration: 0n, metadata: undefined };
    const { certChain } = await createCertificate(controlPlane, request, { timeoutMs: 5000 });
    return certChain[0] ?? '';
  };

  using first = open();
  const peer = await call(first);
  for (const step of ['begin', 'switch', 'finish'] as const) {
    using before = open();
    await rotate(step);
    // `before` dials only now, with the roots that it had before this step.
    t.truthy(await call(before), `a client from before ${step} gets in`);
    using after = open();
    t.truthy(await call(after), `a client from after ${step} gets in`);
  }
  t.is(await call(first), peer, 'the first connection is the same one');
});
