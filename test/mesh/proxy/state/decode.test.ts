import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { applyDelta } from '../../../../mesh/proxy/state/apply.ts';
import { deltaOf } from '../../../../mesh/proxy/state/decode.ts';
import { ProxyState } from '../../../../mesh/proxy/state/store.ts';
import { encodeAuthorization } from '../../../../mesh/xds/codec-policy.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, encodeAddress } from '../../../../mesh/xds/codec.ts';
import { makePolicy } from '../../../support/policies.ts';
import { keyOf, makeService, makeWorkload, podUid } from '../../../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';

test('messages of the control plane become state, the broken ones apart', async (t) => {
  const state = new ProxyState();
  const workload = makeWorkload({ name: 'web', ips: ['10.0.0.2'], serves: { [WEB]: ['80:8080'] } });
  const service = makeService({ name: 'web', vips: ['10.96.0.1'] });
  const addresses = deltaOf(
    ADDRESS_TYPE,
    [
      { name: podUid('web'), bytes: encodeAddress({ kind: 'workload', workload }) },
      { name: WEB, bytes: encodeAddress({ kind: 'service', service }) },
      { name: 'broken', bytes: Buffer.from('0aff', 'hex') },
    ],
    [],
  );
  if (addresses === undefined) throw new Error('not a type of the state');
  const { changed, rejected } = await applyDelta(state, addresses, () => setImmediate());
  t.deepEqual([...changed.workloads], [podUid('web')]);
  t.deepEqual([...changed.services], [keyOf(WEB)]);
  t.deepEqual(
    rejected.map(({ name }) => name),
    ['broken'],
  );
  t.deepEqual(state.workload(podUid('web')), workload);
  t.deepEqual(state.service(keyOf(WEB)), service);

  const policy = makePolicy({ name: 'p', namespace: 'shop' });
  const policies = deltaOf(
    AUTHORIZATION_TYPE,
    [{ name: 'shop/p', bytes: encodeAuthorization(policy) }],
    [],
  );
  if (policies === undefined) throw new Error('not a type of the state');
  await applyDelta(state, policies, () => setImmediate());
  t.deepEqual([...state.policies()], [policy]);
});

test('deltaOf() knows no other types', (t) => {
  t.is(deltaOf('type.googleapis.com/google.protobuf.Any', [], []), undefined);
});
