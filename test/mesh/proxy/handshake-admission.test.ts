import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { formatMetrics } from '../../../mesh/runtime/metrics-text.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import {
  ABUSIVE_SESSION_COST,
  AdmittedHandshake,
  FAILED_HANDSHAKE_COST,
  HandshakeAdmission,
  HANDSHAKES_PER_SOURCE_PER_SECOND,
  PENDING_HANDSHAKES,
  PENDING_HANDSHAKES_PER_SOURCE,
  SESSIONS_PER_SOURCE,
} from '../../../mesh/proxy/handshake-admission.ts';

type Rig = Readonly<{
  clock: { ms: number };
  admit: (source: number) => AdmittedHandshake | string;
  /** As admit(), where it must not be refused. */
  enter: (source: number) => AdmittedHandshake;
  metric: (text: string) => boolean;
}>;

function makeRig(t: ExecutionContext): Rig {
  const clock = { ms: 0 };
  const metrics = new Metrics();
  const admission = new HandshakeAdmission(metrics, () => clock.ms);
  const admit: Rig['admit'] = (source) =>
    admission.admit(parseIpAddress(`10.0.${source >> 8}.${source & 255}`));
  return {
    clock,
    admit,
    enter(source) {
      const admitted = admit(source);
      return admitted instanceof AdmittedHandshake ? admitted : t.fail(admitted);
    },
    metric: (text) => formatMetrics(metrics.snapshot(), 'prometheus').includes(text),
  };
}

test('one source has no more handshakes under way than its share, and gets each place back', (t) => {
  const { admit, enter, metric } = makeRig(t);
  const pending = Array.from({ length: PENDING_HANDSHAKES_PER_SOURCE }, () => enter(1));
  t.is(admit(1), 'pending_of_source');
  t.true(admit(2) instanceof AdmittedHandshake, 'another source is not concerned');
  t.true(metric('halo_hbone_handshakes_refused_total{reason="pending_of_source"} 1'));
  t.true(metric(`halo_hbone_handshakes_pending ${PENDING_HANDSHAKES_PER_SOURCE + 1}`));
  pending[0]?.[Symbol.dispose]();
  pending[0]?.[Symbol.dispose]();
  pending[1]?.prove();
  t.true(admit(1) instanceof AdmittedHandshake);
  t.true(admit(1) instanceof AdmittedHandshake);
  t.is(admit(1), 'pending_of_source', 'a place is given back once');
});

test('one source begins no more handshakes a second than its budget', (t) => {
  const { admit, enter, clock } = makeRig(t);
  const shake = (count: number): void => {
    for (let done = 0; done < count; done++) {
      using admitted = enter(1);
      admitted.prove();
    }
  };
  shake(HANDSHAKES_PER_SOURCE_PER_SECOND);
  t.is(admit(1), 'rate_of_source');
  t.true(admit(2) instanceof AdmittedHandshake);
  clock.ms += 10;
  shake(HANDSHAKES_PER_SOURCE_PER_SECOND / 100);
  t.is(admit(1), 'rate_of_source');
});

test('handshakes that fail and sessions that do harm cost their source more', (t) => {
  const { admit, enter, clock } = makeRig(t);
  for (let count = 0; count < HANDSHAKES_PER_SOURCE_PER_SECOND / FAILED_HANDSHAKE_COST; count++)
    enter(1)[Symbol.dispose]();
  t.is(admit(1), 'rate_of_source');
  clock.ms += 1000;
  let harmful = 0;
  for (; harmful < 30; harmful++) {
    const admitted = admit(1);
    if (!(admitted instanceof AdmittedHandshake)) break;
    admitted.prove();
    admitted.penalize();
    admitted[Symbol.dispose]();
  }
  t.is(harmful, HANDSHAKES_PER_SOURCE_PER_SECOND / ABUSIVE_SESSION_COST);
  t.is(admit(1), 'rate_of_source');
  clock.ms += 1010;
  t.true(admit(1) instanceof AdmittedHandshake, 'but it is heard again');
});

test('when all are too many, the source that has most gives way to one that has less', (t) => {
  const { admit, enter } = makeRig(t);
  const greedy = Array.from({ length: PENDING_HANDSHAKES_PER_SOURCE }, () => enter(0));
  for (let count = PENDING_HANDSHAKES_PER_SOURCE; count < PENDING_HANDSHAKES; count++)
    enter(1 + (count % 20));
  const evicted: number[] = [];
  for (const [index, { canceller }] of greedy.entries()) canceller.tell(() => evicted.push(index));
  t.deepEqual(evicted, []);
  enter(100);
  t.deepEqual(evicted, [0], 'its oldest');
  t.is(admit(0) instanceof AdmittedHandshake, false, 'the greediest itself gets nothing');
});

test('one source keeps no more sessions than its share', (t) => {
  const { admit, enter, clock } = makeRig(t);
  const sessions: AdmittedHandshake[] = [];
  for (let count = 0; count < SESSIONS_PER_SOURCE; count++) {
    clock.ms++;
    const session = enter(1);
    session.prove();
    sessions.push(session);
  }
  clock.ms += 1000;
  t.is(admit(1), 'sessions');
  sessions[0]?.[Symbol.dispose]();
  t.true(admit(1) instanceof AdmittedHandshake);
});
