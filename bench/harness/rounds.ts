import { describeError } from '../../base/errors.ts';

/** What is measured against the others, such as `halo`, `nginx` or `direct`. */
export type Subject<Name extends string> = Readonly<{
  name: Name;
  /** One measurement: the value of each metric. */
  measure(): Promise<Readonly<Record<string, number>>>;
}>;

/** Values by subject and metric, one for each round in their order. */
export type RoundResults<Name extends string> = ReadonlyMap<
  Name,
  ReadonlyMap<string, readonly number[]>
>;

/**
 * Measures all subjects once a round, one after another, each round beginning with the next one: what drifts on the
 * machine during the run (its clock, its temperature, its other users) then meets all of them alike.
 *
 * @param onRound told before each measurement.
 */
export async function measureRounds<Name extends string>(
  subjects: readonly Subject<Name>[],
  rounds: number,
  onRound: (round: number, subject: Name) => void = () => undefined,
): Promise<RoundResults<Name>> {
  const results = new Map<Name, Map<string, number[]>>(
    subjects.map(({ name }) => [name, new Map<string, number[]>()]),
  );
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < subjects.length; turn++) {
      const subject = subjects[(round + turn) % subjects.length];
      if (subject === undefined) continue;
      onRound(round, subject.name);
      const values = await measureNamed(subject);
      const ofSubject = results.get(subject.name);
      for (const [metric, value] of Object.entries(values)) {
        const list = ofSubject?.get(metric);
        if (list === undefined) ofSubject?.set(metric, [value]);
        else list.push(value);
      }
    }
  }
  return results;
}

/** @throws {Error} which names the subject. */
async function measureNamed(subject: Subject<string>): Promise<Readonly<Record<string, number>>> {
  try {
    return await subject.measure();
  } catch (cause) {
    throw new Error(`${subject.name}: ${describeError(cause)}`, { cause });
  }
}

/** The values of one metric of one subject; none when it was not measured. */
export function valuesOf<Name extends string>(
  results: RoundResults<Name>,
  subject: Name,
  metric: string,
): readonly number[] {
  return results.get(subject)?.get(metric) ?? [];
}
