import test from 'ava';
import {
  makeCallGraph,
  shareOfCalls,
  shareOfServices,
  type CallGraph,
} from '../../../bench/ambient/call-graph.ts';

const counts = [3, 4, 5, 14, 49];

function callsOf(graph: CallGraph, name: string): readonly string[] {
  return graph.services.find((service) => service.name === name)?.calls ?? [];
}

test('a call graph has as many services as asked, and each is on some path', (t) => {
  for (const count of counts) {
    const graph = makeCallGraph(count);
    t.is(graph.services.length, count);
    t.is(new Set(graph.paths.flat()).size, count, `${count}: every service is called`);
  }
});

test('a path goes along calls that its services are known to make', (t) => {
  for (const count of counts) {
    const graph = makeCallGraph(count);
    for (const [front, middle, leaf] of graph.paths) {
      t.true(callsOf(graph, front).includes(middle), `${front} -> ${middle}`);
      t.true(callsOf(graph, middle).includes(leaf), `${middle} -> ${leaf}`);
    }
    for (const { name, calls, callers } of graph.services) {
      for (const called of calls)
        t.true(graph.services.find((one) => one.name === called)?.callers.includes(name));
      for (const caller of callers) t.true(callsOf(graph, caller).includes(name));
    }
  }
});

test('no path is there twice, and all leaves get the same load', (t) => {
  for (const count of counts) {
    const { paths } = makeCallGraph(count);
    t.is(new Set(paths.map((path) => path.join(' '))).size, paths.length);
    const byLeaf = Map.groupBy(paths, ([, , leaf]) => leaf);
    t.is(new Set([...byLeaf.values()].map((list) => list.length)).size, 1);
  }
});

test('two services are too few for a call graph', (t) => {
  t.throws(() => makeCallGraph(2), { instanceOf: RangeError });
});

test('a share of the services is one at least, and lies all over the graph', (t) => {
  const graph = makeCallGraph(49);
  t.deepEqual(shareOfServices(graph, 0), []);
  t.is(shareOfServices(makeCallGraph(3), 0.1).length, 1);
  t.is(shareOfServices(graph, 1).length, 49);
  const tenth = shareOfServices(graph, 0.1);
  t.is(new Set(tenth).size, 5);
  const layers = new Set(
    tenth.map((name) => graph.services.find((service) => service.name === name)?.layer),
  );
  t.is(layers.size, 3);
});

test('the share of calls counts every hop of every path', (t) => {
  const graph = makeCallGraph(3);
  t.deepEqual(graph.paths, [['svc-0', 'svc-1', 'svc-2']]);
  t.is(shareOfCalls(graph, ['svc-1']), 1 / 3);
  t.is(shareOfCalls(graph, ['svc-0', 'svc-1', 'svc-2']), 1);
});
