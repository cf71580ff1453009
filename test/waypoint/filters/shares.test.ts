import test from 'ava';
import type { BackendTarget } from '../../../mesh/model/http-filter.ts';
import type { HttpBackend } from '../../../mesh/model/http-route.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import { chooseBackend } from '../../../waypoint/filters/backend.ts';
import { decideFault } from '../../../waypoint/filters/fault.ts';
import { chooseMirrors, mirrorHeaders } from '../../../waypoint/filters/mirror.ts';
import { isOfShare } from '../../../waypoint/filters/share.ts';
import { makeRule } from '../../support/route-cases.ts';

/** Gives these, and then nothing: how often something is drawn is part of what is promised. */
function drawing(...numbers: readonly number[]): () => number {
  const left = [...numbers];
  return () => {
    const next = left.shift();
    if (next === undefined) throw new Error('drawn too often');
    return next;
  };
}

const percent = (numerator: number): { numerator: number; denominator: number } => ({
  ...{ numerator, denominator: 100 },
});

test('a share of none is nobody, a share of all everybody', (t) => {
  for (const random of [0, 0.5, 1 - Number.EPSILON]) {
    t.false(isOfShare(percent(0), random));
    t.true(isOfShare(percent(100), random));
  }
  t.true(isOfShare({ numerator: 1, denominator: 3 }, 0.333));
  t.false(isOfShare({ numerator: 1, denominator: 3 }, 0.334));
});

test('delays and aborts are drawn independently, and the delay comes first', (t) => {
  const delays = [{ delayMs: 100, share: percent(50) }];
  const aborts = [{ status: 503, share: percent(50) }];
  t.deepEqual(decideFault(delays, aborts, drawing(0.4, 0.6)), { delayMs: 100, abort: undefined });
  t.deepEqual(decideFault(delays, aborts, drawing(0.6, 0.4)), { delayMs: 0, abort: aborts[0] });
  t.deepEqual(decideFault(delays, aborts, drawing(0, 0)), { delayMs: 100, abort: aborts[0] });
  t.deepEqual(decideFault([], [], drawing()), { delayMs: 0, abort: undefined });
});

test('every mirror has a share of its own', (t) => {
  const to = (name: string): BackendTarget => ({ service: serviceKey('shop', name), port: 80 });
  const mirrors = [
    { backend: to('a'), share: percent(50) },
    { backend: to('b'), share: percent(50) },
  ];
  const chosen = (...numbers: readonly number[]): readonly string[] =>
    chooseMirrors(mirrors, drawing(...numbers)).map(({ service }) => service);
  t.deepEqual(chosen(0.1, 0.9), ['shop/a']);
  t.deepEqual(chosen(0.9, 0.1), ['shop/b']);
  t.deepEqual(chosen(0.1, 0.1), ['shop/a', 'shop/b']);
  t.deepEqual(chooseMirrors([], drawing()), []);
});

test('the host of a copy says so, before its port', (t) => {
  const shadow = (authority: string): string | undefined =>
    mirrorHeaders(Object.freeze([':authority', authority, ':path', '/']))[1];
  t.is(shadow('shop'), 'shop-shadow');
  t.is(shadow('shop:80'), 'shop-shadow:80');
  t.deepEqual(mirrorHeaders([':path', '/', 'host', 'shop']), [
    ...[':authority', 'shop-shadow', ':path', '/'],
  ]);
});

test('a backend that cannot be used keeps its share; a weight of 0 has none', (t) => {
  const backend = (weight: number, problem?: string): HttpBackend => ({
    ...{ weight, filters: [] },
    ...(problem === undefined ? {} : { problem }),
  });
  const rule = {
    ...makeRule('a', []),
    backends: [backend(0), backend(7), backend(3, 'no such Service')],
  };
  t.is(chooseBackend(rule, 0)?.weight, 7);
  t.is(chooseBackend(rule, 0.69)?.weight, 7);
  t.is(chooseBackend(rule, 0.71)?.problem, 'no such Service');
  t.is(chooseBackend({ ...rule, backends: [backend(0)] }, 0.5), undefined);
  t.is(chooseBackend({ ...rule, backends: [] }, 0.5), undefined);
});
