import test from 'ava';
import type { MeshError } from '../../../base/errors.ts';
import { parseIpAddress } from '../../../base/address.ts';
import type { DemandKey } from '../../../mesh/proxy/state/answered.ts';
import { Demand } from '../../../ztunnel/demand.ts';
import type { Admission } from '../../../ztunnel/inbound/admission.ts';
import { awaitAdmission, recheckAdmission } from '../../../ztunnel/inbound/await-admission.ts';
import { TestNode } from '../../support/ztunnel-pods.ts';

const KEY = 'shop/waypoint.shop.svc.cluster.local' as DemandKey;
const ASK: Admission = { kind: 'ask', key: KEY };
const BYPASSED: Admission = { kind: 'refuse', status: 401, reason: 'not from the waypoint' };
const ip = parseIpAddress('10.0.0.1');

/** A live connection as far as admission sees it; `cut` settles with why it was cut. */
function liveConnection(): Parameters<typeof recheckAdmission>[1] & { wasCut: Promise<MeshError> } {
  const { promise: wasCut, resolve } = Promise.withResolvers<MeshError>();
  const address = { ip, port: 1 };
  const ends = { source: { address }, destination: { address } };
  const { signal } = new AbortController();
  return { podUid: 'pod', signal, ends, traceId: '0'.repeat(32), cut: resolve, wasCut };
}

test('a live connection whose waypoint must be asked for is cut when the answer does not permit it', async (t) => {
  const asked: DemandKey[] = [];
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const demand = new Demand({
    demand(key) {
      asked.push(key);
      return promise;
    },
    release: () => undefined,
  });
  const { parts } = await TestNode.open(t, { demand });
  const live = liveConnection();
  const decide = (): Admission => (demand.answered.has(KEY) ? BYPASSED : ASK);
  t.is(recheckAdmission(parts, live, decide), undefined);
  t.is(recheckAdmission(parts, live, decide), undefined);
  t.deepEqual(asked, [KEY]);
  resolve(undefined);
  t.regex((await live.wasCut).message, /policy change: not from the waypoint/);
});

test('a connection for which the control plane cannot be asked is refused, and a live one is cut', async (t) => {
  const demand = new Demand({
    demand: () => Promise.reject(new Error('it is ending')),
    release: () => undefined,
  });
  const { parts } = await TestNode.open(t, { demand });
  const live = liveConnection();
  const refused = await t.throwsAsync(awaitAdmission(parts, live, () => ASK));
  t.like(refused, { status: 503 });
  t.regex(refused.message, /the control plane has not told of shop\/waypoint/);
  t.is(
    recheckAdmission(parts, live, () => ASK),
    undefined,
  );
  t.regex((await live.wasCut).message, /policy change: the control plane has not told/);
});
