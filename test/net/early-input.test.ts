import { setImmediate as nextTurn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { Collector } from '../support/collect.ts';
import { tcpPair } from '../support/tcp-pair.ts';

const FIRST = 'to the first';
const SECOND = 'to the second';

/** Does something with what it is given, as part of taking it. */
class Acting extends Collector {
  readonly #act: () => void;

  constructor(stream: TcpStream, act: () => void) {
    super(stream);
    this.#act = act;
  }

  override onData(...input: Parameters<Collector['onData']>): number {
    const taken = super.onData(...input);
    this.#act();
    return taken;
  }
}

/** Two connections that are watched, and a way to have both peers send in the same turn. */
async function twoPairs(t: ExecutionContext) {
  const [first, second] = [await tcpPair(t), await tcpPair(t)];
  const send = (): void => {
    first.theirs.write(FIRST);
    second.theirs.write(SECOND);
  };
  return { first, second, send };
}

test('who is reset by what came to another one in the same turn hears nothing any more', async (t) => {
  const { first, second, send } = await twoPairs(t);
  const sinks = [
    new Acting(first.ours, () => {
      second.ours.reset();
    }),
    new Acting(second.ours, () => {
      first.ours.reset();
    }),
  ];
  await nextTurn();
  send();
  await new Promise((resolve) => {
    first.theirs.once('close', resolve);
    second.theirs.once('close', resolve);
  });
  await nextTurn();
  t.deepEqual(sinks.map(({ received }) => received > 0).sort(), [false, true]);
  t.true(sinks.every(({ ended, error }) => !ended && error === undefined));
});

test('a sink that is set by what came to another one in the same turn gets what was read before', async (t) => {
  const { first, second, send } = await twoPairs(t);
  const { promise: replaced, resolve } = Promise.withResolvers<Collector>();
  const sinks = [
    new Acting(first.ours, () => {
      resolve(new Collector(second.ours));
    }),
    new Acting(second.ours, () => {
      resolve(new Collector(first.ours));
    }),
  ];
  await nextTurn();
  send();
  const sink = await replaced;
  const [text, other] = sink.stream === first.ours ? [FIRST, SECOND] : [SECOND, FIRST];
  await sink.until(({ received }) => received >= text.length);
  t.is(sink.text, text);
  t.deepEqual(sinks.map((each) => each.text).sort(), ['', other]);
});

test('of more connections than are read early each gets its own bytes, however many they are', async (t) => {
  const pairs = await Promise.all(Array.from({ length: 150 }, async () => tcpPair(t)));
  const collectors = pairs.map(({ ours }) => new Collector(ours));
  await nextTurn();
  const texts = pairs.map((_, index) => `${index} `.repeat(1 + ((index * 97) % 3000)));
  for (const round of [1, 2, 3]) {
    for (const [index, { theirs }] of pairs.entries()) theirs.write(texts[index] ?? '');
    for (const [index, collector] of collectors.entries())
      await collector.until(({ received }) => received >= round * (texts[index]?.length ?? 0));
  }
  for (const [index, { text }] of collectors.entries()) t.is(text, (texts[index] ?? '').repeat(3));
});

test('who takes a part of what was read early gets the rest, before what comes later', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  await nextTurn();
  // Room for an early read, of which less is taken than the room was.
  collector.capacity = () => 1 << 20;
  collector.allowance = 5;
  theirs.write('one two');
  await collector.until(({ received }) => received === 5);
  theirs.write(' three');
  collector.release();
  await collector.until(({ received }) => received === 13);
  t.is(collector.text, 'one two three');
});
