import test from 'ava';
import fc from 'fast-check';
import { socketAddress } from '../../../base/address.ts';
import {
  makeBaggage,
  makeForwarded,
  makeTraceparent,
  parseBaggage,
  parseForwardedHost,
  parseTraceparent,
  traceIdOf,
} from '../../../mesh/hbone/headers.ts';
import { makeWorkload } from '../../support/workloads.ts';

const workload = makeWorkload({
  name: 'web-1',
  workloadName: 'web',
  canonicalName: 'web',
  canonicalRevision: 'v1',
  locality: { region: 'r1', zone: 'z1', subzone: '' },
});

test('makeBaggage() writes the keys of istio/ztunnel in their order', (t) => {
  t.is(
    makeBaggage(workload),
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,' +
      'service.name=web,service.version=v1,cloud.region=r1,cloud.availability_zone=z1',
  );
  const bare = {
    ...workload,
    workloadType: 'POD',
    canonicalName: '',
    locality: { region: '', zone: '', subzone: '' },
  } as const;
  t.is(
    makeBaggage(bare),
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=web,service.version=v1',
  );
});

test('parseBaggage() reads what makeBaggage() writes', (t) => {
  t.deepEqual(parseBaggage(makeBaggage(workload)), {
    clusterId: 'Kubernetes',
    namespace: 'shop',
    workloadType: 'DEPLOYMENT',
    workloadName: 'web',
    canonicalName: 'web',
    canonicalRevision: 'v1',
    region: 'r1',
    zone: 'z1',
  });
});

const EMPTY = parseBaggage('');

test('parseBaggage() leaves out what it does not understand', (t) => {
  const { namespace, workloadName } = parseBaggage(
    'x, =y,k8s.namespace.name = shop ;prop=1,__proto__=z,k8s.namespace.name=bank,k8s.job.name=',
  );
  t.is(namespace, 'shop');
  t.is(workloadName, '');
  t.deepEqual(parseBaggage('k8s.namespace.name=a b'), EMPTY);
  t.deepEqual(parseBaggage('k8s.namespace.name=a\nlevel=error'), EMPTY);
  t.deepEqual(parseBaggage('k8s.namespace.name="a"'), EMPTY);
  t.deepEqual(parseBaggage(`k8s.namespace.name=${'a'.repeat(254)}`), EMPTY);
});

test('parseBaggage() does not read a header beyond its limits', (t) => {
  t.deepEqual(parseBaggage(`k8s.namespace.name=shop,${'x'.repeat(9000)}`), EMPTY);
  t.deepEqual(parseBaggage(`k8s.namespace.name=shop${',a=b'.repeat(64)}`), EMPTY);
});

test('no header makes a parser throw', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (header) => {
      parseBaggage(header);
      parseForwardedHost(header);
      return (parseTraceparent(header) ?? makeTraceparent()).length === 55;
    }),
  );
  t.pass();
});

test('makeForwarded() and parseForwardedHost() agree on the service', (t) => {
  const source = socketAddress('fd00::1', 4000);
  t.is(makeForwarded(source), 'for="[fd00::1]:4000"');
  const header = makeForwarded(source, 'web.shop.svc.cluster.local');
  t.is(header, 'for="[fd00::1]:4000";host=web.shop.svc.cluster.local');
  t.is(parseForwardedHost(header), 'web.shop.svc.cluster.local');
  t.is(parseForwardedHost('for=x; Host="WEB.shop" ;proto=tcp'), 'web.shop');
});

for (const header of [
  '',
  'for=x',
  'host=',
  'host="a',
  'host=a b',
  'xhost=a',
  'for=x,host=a',
  'host=é',
]) {
  test(`parseForwardedHost() finds no service in ${JSON.stringify(header)}`, (t) => {
    t.is(parseForwardedHost(header), undefined);
  });
}

test('makeTraceparent() makes a new one each time', (t) => {
  const made = new Set(Array.from({ length: 200 }, makeTraceparent));
  t.is(made.size, 200);
  for (const header of made) t.regex(header, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});

test('parseTraceparent() takes a well-formed one and no other (M5)', (t) => {
  const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  t.is(parseTraceparent(good), good);
  t.is(traceIdOf(good), '0af7651916cd43dd8448eb211c80319c');
  const bad = [
    undefined,
    '',
    good.toUpperCase(),
    `${good}0`,
    good.replace('00-', 'ff-'),
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`,
    'x'.repeat(100_000),
  ];
  for (const header of bad) t.is(parseTraceparent(header), undefined);
});
