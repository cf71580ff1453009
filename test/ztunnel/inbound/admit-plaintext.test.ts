import test from 'ava';
import { parseIpAddress, parseSocketAddress } from '../../../base/address.ts';
import { OWN_PORTS, OWN_PORTS_WITH_SOCKS5, type OwnPorts } from '../../../mesh/model/ports.ts';
import type { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { admitPlaintext } from '../../../ztunnel/inbound/admit.ts';
import { text } from '../../support/policies.ts';
import { podUid } from '../../support/workloads.ts';
import {
  mesh,
  admit,
  shape,
  tunnels,
  plain,
  guarded,
  policed,
  DENIED,
} from '../../support/admissions.ts';

const plaintexts = test.macro({
  exec(t, state: ProxyState, to: string, expected: string | RegExp, peer?: string) {
    const found = admitPlaintext(
      state,
      {
        workload: state.workload(podUid('local')),
        destination: parseSocketAddress(to),
        peerIp: parseIpAddress(peer ?? '10.0.0.1'),
        ownPorts: OWN_PORTS,
      },
      '',
    );
    if (typeof expected === 'string') t.is(shape(found), expected);
    else t.regex(shape(found), expected);
  },
  title: (given = '') => `admitPlaintext(): ${given}`,
});

test(
  'plaintext is admitted to where it was going',
  plaintexts,
  plain,
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'a plaintext self-call binds no address',
  plaintexts,
  plain,
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080',
  '10.0.0.2',
);
for (const port of [15001, 15006, 15008]) {
  test(
    `plaintext to the proxy's own port ${port}`,
    plaintexts,
    plain,
    `10.0.0.2:${port}`,
    /^503 port/,
  );
}
test("the SOCKS5 port is the proxy's own only where SOCKS5 is served", (t) => {
  const open = shape(admit(plain, '10.0.0.2:15080'));
  t.is(open, 'admit 10.0.0.2:15080 from 10.0.0.1');
  const guarded = shape(admit(plain, '10.0.0.2:15080', { ownPorts: OWN_PORTS_WITH_SOCKS5 }));
  t.regex(guarded, /^503 port 15080/);
  const request = {
    workload: plain.workload(podUid('local')),
    destination: parseSocketAddress('10.0.0.2:15080'),
    peerIp: parseIpAddress('10.0.0.1'),
  };
  const plaintext = (ownPorts: OwnPorts): string =>
    shape(admitPlaintext(plain, { ...request, ownPorts }, ''));
  t.is(plaintext(OWN_PORTS), open);
  t.regex(plaintext(OWN_PORTS_WITH_SOCKS5), /^503 port 15080/);
});
test(
  'plaintext to an address that is not of the pod',
  plaintexts,
  plain,
  '192.0.2.1:80',
  /^400 ip mismatch/,
);
test(
  'STRICT refuses plaintext',
  plaintexts,
  policed({ notPrincipals: [text('*')] }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'STRICT admits an identity',
  tunnels,
  policed({ notPrincipals: [text('*')] }),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'STRICT on one port leaves the others',
  plaintexts,
  policed({ notPrincipals: [text('*')], destinationPorts: [9090] }),
  '10.0.0.2:8080',
  'admit 10.0.0.2:8080 from 10.0.0.1',
);
test(
  'no identity is taken from the address of a known pod',
  plaintexts,
  policed({ notNamespaces: [text('shop')] }),
  '10.0.0.2:8080',
  DENIED,
);
test(
  'a pod with a waypoint refuses plaintext, from the waypoint too',
  plaintexts,
  guarded,
  '10.0.0.2:8080',
  /^401 the connection did not come/,
  '10.0.0.9',
);

test('admitPlaintext() waits for policies and knows its workload', (t) => {
  const state = mesh({ policies: ['shop/late'] });
  const request = {
    workload: state.workload(podUid('local')),
    destination: parseSocketAddress('10.0.0.2:8080'),
    peerIp: parseIpAddress('10.0.0.1'),
    ownPorts: OWN_PORTS,
  };
  t.is(shape(admitPlaintext(state, request, '')), 'wait shop/late');
  const unknown = { ...request, workload: undefined };
  t.is(shape(admitPlaintext(state, unknown, '')), '503 the local workload is not known');
});
