import test, { type ExecutionContext } from 'ava';
import { AnswerProbe } from '../../../net/h2/answer-probe.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';

const PATIENCE_MS = 100;

function makeProbe(
  t: ExecutionContext,
  patienceMs = PATIENCE_MS,
): { probe: AnswerProbe; advance: (ms: number) => void; pings: () => number } {
  let pings = 0;
  const clock = makeH2Clock();
  const probe = new AnswerProbe(() => pings++, clock, patienceMs);
  t.teardown(() => {
    probe.stop();
  });
  return { probe, advance: clock.advance, pings: () => pings };
}

test('a peer that leaves a stream and then the PING without an answer is unresponsive, until it answers the PING', (t) => {
  const { probe, advance, pings } = makeProbe(t);
  probe.onAsk(1);
  advance(PATIENCE_MS - 1);
  t.is(pings(), 0);
  advance(1);
  t.is(pings(), 1);
  advance(PATIENCE_MS);
  t.false(probe.isUnresponsive());
  advance(1);
  t.true(probe.isUnresponsive());
  probe.onAsk(3);
  probe.onAnswer(3);
  advance(10 * PATIENCE_MS);
  t.true(probe.isUnresponsive(), 'other bytes are no answer');
  t.is(pings(), 1);
  probe.onPong();
  t.false(probe.isUnresponsive());
});

test('a peer that answers streams in time is never asked, however many there are', (t) => {
  const { probe, advance, pings } = makeProbe(t);
  for (let id = 1; id < 2000; id += 2) {
    probe.onAsk(id);
    advance(PATIENCE_MS - 1);
    probe.onAnswer(id);
  }
  advance(PATIENCE_MS);
  t.is(pings(), 0);
  t.false(probe.isUnresponsive());
});

test('patience counts from the stream that is waited for, not from those before', (t) => {
  const { probe, advance, pings } = makeProbe(t);
  probe.onAsk(1);
  advance(PATIENCE_MS / 2);
  probe.onAnswer(1);
  probe.onAsk(3);
  advance(PATIENCE_MS / 2);
  probe.onAnswer(1);
  advance(PATIENCE_MS / 2 - 1);
  t.is(pings(), 0);
  advance(1);
  t.is(pings(), 1);
});

test('a peer that is slow with a stream and answers each PING is asked once for each stream that is slow', (t) => {
  const { probe, advance, pings } = makeProbe(t);
  for (let count = 1; count <= 10; count++) {
    probe.onAsk(2 * count - 1);
    advance(PATIENCE_MS);
    t.is(pings(), count);
    probe.onPong();
    advance(10 * PATIENCE_MS);
    t.is(pings(), count);
    t.false(probe.isUnresponsive());
  }
});

test('a peer of whom no byte comes after DATA was sent is asked, and unresponsive if it does not answer that either', (t) => {
  const { probe, advance, pings } = makeProbe(t);
  for (let count = 0; count < 1000; count++) {
    probe.onSend();
    advance(PATIENCE_MS - 1);
    probe.onSend();
    probe.onInput();
  }
  t.is(pings(), 0);
  probe.onSend();
  advance(PATIENCE_MS);
  t.is(pings(), 1);
  probe.onInput();
  advance(PATIENCE_MS + 1);
  t.true(probe.isUnresponsive(), 'other bytes are no answer');
  probe.onPong();
  t.false(probe.isUnresponsive());
  advance(10 * PATIENCE_MS);
  t.is(pings(), 1, 'nothing was sent since');
});

test('without patience nobody is asked; what has stopped asks no more', (t) => {
  const { probe, advance, pings } = makeProbe(t, 0);
  probe.onAsk(1);
  probe.onSend();
  advance(10_000);
  t.false(probe.isUnresponsive());
  const stopped = makeProbe(t);
  stopped.probe.onAsk(1);
  stopped.probe.stop();
  stopped.advance(10 * PATIENCE_MS);
  t.false(stopped.probe.isUnresponsive());
  t.is(pings() + stopped.pings(), 0);
});
