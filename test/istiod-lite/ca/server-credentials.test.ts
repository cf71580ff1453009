import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
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
import { HandClock } from '../../support/hand-clock.ts';

const DAY = 86_400_000;

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
  const { credentials } = await followAuthority(authority, names);
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

test('the certificate of the control plane is renewed at half of its life, and open connections go on', async (t) => {
  const caDir = mkdtempSync(join(tmpdir(), 'halo-credentials-'));
  // Real TLS looks at the real clock: the 30 days of the first certificate lie around now.
  const clock = new HandClock(Date.now() - 20 * DAY);
  const trustDomain = parseTrustDomain('cluster.local');
  const { authority } = await openAuthority({ caDir, trustDomain, now: clock.now });
  const names = { dnsNames: ['localhost'], ips: [] };
  using identity = await followAuthority(authority, names, { clock });
  const server = new Server();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', identity.credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  t.teardown(() => {
    server.forceShutdown();
    rmSync(caDir, { recursive: true });
  });
  const dial = async (): Promise<TLSSocket> => {
    const socket = connect({
      ...{ port, host: '127.0.0.1', servername: 'localhost', ca: authority.rootsPem },
      ALPNProtocols: ['h2'],
    });
    t.teardown(() => socket.destroy());
    await once(socket, 'secureConnect');
    return socket;
  };
  const serialOf = (socket: TLSSocket): string => socket.getPeerCertificate().serialNumber;
  const first = await dial();
  await clock.advance(14 * DAY);
  t.is(serialOf(await dial()), serialOf(first));
  await clock.advance(2 * DAY);
  const second = await dial();
  t.not(serialOf(second), serialOf(first));
  t.false(first.destroyed);
  t.is(identity.renewalMs(), clock.now() - DAY + 15 * DAY);
});
