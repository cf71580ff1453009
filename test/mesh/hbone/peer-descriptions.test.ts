import test from 'ava';
import { makeBaggage } from '../../../mesh/hbone/headers.ts';
import { PeerDescriptions } from '../../../mesh/hbone/peer-descriptions.ts';
import { makeWorkload } from '../../support/workloads.ts';

const workload = makeWorkload({
  name: 'web-7c9d',
  workloadName: 'web',
  clusterId: 'west',
  locality: { region: 'r1', zone: 'z1', subzone: 's1' },
});

test('a workload is described as its baggage has it, by one object for one text', (t) => {
  const descriptions = new PeerDescriptions();
  const found = descriptions.describe(makeBaggage(workload));
  t.deepEqual(found, {
    ...{ name: 'web', namespace: 'shop', clusterId: 'west', workloadName: 'web' },
    ...{ canonicalName: 'web-7c9d', canonicalRevision: 'latest' },
    locality: { region: 'r1', zone: 'z1', subzone: '' },
  });
  t.is(descriptions.describe(makeBaggage(workload)), found);
});

test('without baggage nothing is described', (t) => {
  const descriptions = new PeerDescriptions();
  t.is(descriptions.describe(undefined), undefined);
  t.is(descriptions.describe(''), undefined);
});

test('hostile baggage gives bounded, plain texts or none (M2, M4)', (t) => {
  const descriptions = new PeerDescriptions();
  for (const value of ['x'.repeat(254), 'a"b', 'a\\nb', 'a b', 'a\u009bb', ''])
    t.is(descriptions.describe(`service.name=${value}`)?.canonicalName, '', JSON.stringify(value));
  t.is(descriptions.describe(`service.name=web,${'y'.repeat(9000)}`)?.canonicalName, '');
});

test('texts that are long, or many, are read but not kept', (t) => {
  const descriptions = new PeerDescriptions();
  const long = `service.name=web${',a=b'.repeat(60)},${'z'.repeat(1000)}`;
  t.is(descriptions.describe(long)?.canonicalName, 'web');
  t.not(descriptions.describe(long), descriptions.describe(long));
  const first = descriptions.describe('service.name=first');
  for (let index = 0; index < 1023; index++) descriptions.describe(`service.name=n${index}`);
  t.is(descriptions.describe('service.name=first'), first);
  descriptions.describe('service.name=one-more');
  t.not(descriptions.describe('service.name=first'), first);
});
