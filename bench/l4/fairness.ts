import { measureRounds, valuesOf } from '../harness/rounds.ts';
import { makeRow } from '../harness/rows.ts';
import { SOURCE_PORT } from '../load/protocol.ts';
import type { Question } from './context.ts';
import { routesOf } from './routes.ts';

/** Streams of which nothing is read, in the session of the one that is measured. */
const STALLED = 8;
const GREEDY = 8;

/** Does a stream that stalls or takes all it can get hold up the others of its session? Design, perf-L8. */
export const fairness: Question = {
  name: 'fairness',
  async ask(context) {
    const [route] = routesOf(context, ['halo']);
    if (route === undefined) return [];
    const { ms, warmMs, rounds, note } = context;
    const run = async (streams: number, stalled: number): Promise<readonly number[]> => {
      const ask = { ...route.to(SOURCE_PORT), direction: 'down' as const, streams, stalled };
      const answer = await route.client().ask('bulk', { ...ask, warmMs, ms });
      return answer.bytes.map((bytes) => (bytes * 8) / answer.ms / 1e6);
    };
    const rate = async (streams: number, stalled: number): Promise<{ rate: number }> => ({
      rate: (await run(streams, stalled)).reduce((sum, of) => sum + of, 0),
    });
    const results = await measureRounds(
      [
        { name: 'alone', measure: () => rate(1, 0) },
        { name: 'beside', measure: () => rate(1, STALLED) },
        {
          name: 'greedy',
          measure: async () => {
            const each = await run(GREEDY, 0);
            const fair = each.reduce((sum, of) => sum + of, 0) / GREEDY;
            return { shortfall: (1 - Math.min(...each) / fair) * 100 };
          },
        },
      ],
      rounds,
      (round, name) => {
        note(`fairness: round ${round + 1} of ${rounds}, ${name}`);
      },
    );
    const alone = valuesOf(results, 'alone', 'rate');
    const lost = valuesOf(results, 'beside', 'rate').map(
      (value, round) => (1 - value / (alone[round] ?? NaN)) * 100,
    );
    return [
      makeRow({
        metric: `perf-L8 rate lost beside ${STALLED} stalled streams`,
        ...{ unit: '%', better: 'lower', ours: lost, budget: { must: 5, aim: 1 } },
      }),
      makeRow({
        metric: `least of ${GREEDY} greedy streams, below its share`,
        ...{ unit: '%', better: 'lower', ours: valuesOf(results, 'greedy', 'shortfall') },
      }),
    ];
  },
};
