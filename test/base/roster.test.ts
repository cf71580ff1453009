import test from 'ava';
import fc from 'fast-check';
import { NOWHERE, Roster, type Seated } from '../../base/roster.ts';

type Member = Seated & Readonly<{ name: number }>;

function members(count: number): Member[] {
  return Array.from({ length: count }, (_, name) => ({ name, seat: NOWHERE }));
}

test('a roster holds what a set would, in the same order', (t) => {
  const steps = fc.array(fc.record({ adds: fc.boolean(), who: fc.integer({ min: 0, max: 39 }) }), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(steps, (all) => {
      const [roster, model, every] = [new Roster<Member>(), new Set<Member>(), members(40)];
      for (const { adds, who } of all) {
        const member = every[who];
        if (member === undefined) continue;
        if (adds) {
          roster.add(member);
          model.add(member);
        } else t.is(roster.delete(member), model.delete(member));
        t.is(roster.size, model.size);
        t.is(roster.oldest, [...model][0]);
        t.is(roster.has(member), model.has(member));
      }
      t.deepEqual(
        roster.all().map(({ name }) => name),
        [...model].map(({ name }) => name),
      );
    }),
  );
});

test('who leaves while all are visited is visited still, and not here any more', (t) => {
  const roster = new Roster<Member>();
  const [first, second] = members(2) as [Member, Member];
  roster.add(first);
  roster.add(second);
  const visited: number[] = [];
  for (const { name } of roster.all()) {
    visited.push(name);
    roster.delete(second);
  }
  t.deepEqual(visited, [0, 1]);
  t.deepEqual(roster.all(), [first]);
});

test('a member of another roster is not here, whatever its seat', (t) => {
  const [here, there] = [new Roster<Member>(), new Roster<Member>()];
  const [ours, theirs] = members(2) as [Member, Member];
  here.add(ours);
  there.add(theirs);
  t.is(ours.seat, theirs.seat);
  t.false(here.has(theirs));
  t.false(here.delete(theirs));
  t.true(there.has(theirs));
});

test('seats are used again, however many come and go', (t) => {
  const roster = new Roster<Member>();
  const stays = members(1)[0] as Member;
  let highest = 0;
  roster.add(stays);
  for (const member of members(10_000)) {
    roster.add(member);
    highest = Math.max(highest, member.seat);
    roster.delete(member);
  }
  t.true(highest < 100, `seat ${highest}`);
  t.deepEqual(roster.all(), [stays]);
});
