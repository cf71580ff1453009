import test from 'ava';
import fc from 'fast-check';
import { OpenStreams } from '../../../net/h2/open-streams.ts';

type Stream = Readonly<{ id: number }>;

/** Ids that fall on few places, those of a well-behaved peer, and the highest. */
const ids = fc.oneof(
  fc.integer({ min: 0, max: 30 }).map((step) => 1 + 2 * step),
  fc.integer({ min: 0, max: 30 }).map((step) => 1 + 256 * step),
  fc.integer({ min: 0, max: 10 }).map((step) => 0x7fff_ffff - 2 * step),
);

test('open streams are found by their ids as in a map, whatever has come and gone', (t) => {
  const steps = fc.array(fc.record({ adds: fc.boolean(), id: ids }), { maxLength: 300 });
  fc.assert(
    fc.property(steps, (all) => {
      const [open, model] = [new OpenStreams<Stream>(), new Map<number, Stream>()];
      for (const { adds, id } of all) {
        if (!adds) {
          open.delete(id);
          model.delete(id);
        } else if (!model.has(id)) {
          const stream = { id };
          open.add(stream);
          model.set(id, stream);
        }
        t.is(open.size, model.size);
        for (const known of [id, ...model.keys()]) t.is(open.get(known), model.get(known));
      }
      t.deepEqual(
        open.all().map((stream) => stream.id),
        [...model.keys()].sort((a, b) => a - b),
      );
    }),
    { numRuns: 200 },
  );
});
