import measured from '../cost/coefficients.json' with { type: 'json' };
import { defineVerb, EXIT, outputOptions, usageError } from '../command.ts';
import {
  ambientCost,
  sidecarCost,
  type Cluster,
  type Coefficients,
  type Cost,
  type Prices,
} from '../cost/model.ts';
import { EXAMPLE_PRICES, readPrices } from '../cost/prices.ts';
import { printResult } from '../output.ts';
import { formatTable } from '../table.ts';
import type { Terminal } from '../terminal.ts';

const COEFFICIENTS: Coefficients = measured;
/** More than any cluster has. */
const MAX = 10_000_000;

export const cost = defineVerb({
  name: 'cost',
  group: 'Looking into it',
  summary: 'Work out what sidecars and this mesh would take, from measured figures',
  details: `Memory, processors and money a month of the data plane: an Envoy in each pod, or a ztunnel on each node with waypoints
for a share of the calls. It needs no running mesh. The figures of one proxy were measured by the benchmark "ambient"; the
answer says when, on what, and how it comes about. It is an estimate: far from the sizes that were measured it only goes on
in a straight line.

A file of prices is YAML or JSON: gbMonth and cpuMonth, what a gigabyte of memory and a processor cost a month, and currency.

Examples:
  halo cost --pods 500 --nodes 20 --rate 5000 --l7 0.1
  halo cost --pods 500 --nodes 20 --rate 5000 --prices prices.yaml -o json`,
  options: {
    pods: { type: 'number', placeholder: 'N', summary: 'how many pods', min: 1, max: MAX },
    nodes: { type: 'number', placeholder: 'M', summary: 'how many nodes', min: 1, max: MAX },
    rate: {
      type: 'number',
      placeholder: 'R',
      summary: 'calls between pods a second, all together',
      min: 0,
      max: MAX,
    },
    l7: {
      type: 'text',
      placeholder: 'SHARE',
      summary: 'the part of the calls through waypoints, 0 to 1',
      default: '0',
    },
    prices: {
      type: 'text',
      placeholder: 'FILE',
      summary: 'what memory and processors cost',
      complete: 'files',
    },
    ...outputOptions,
  },
  run({ options, terminal }) {
    const { pods, nodes, rate } = options;
    if (pods === undefined || nodes === undefined || rate === undefined)
      throw usageError('Cannot work it out: --pods, --nodes and --rate are all needed');
    const cluster = { pods, nodes, callsPerSecond: rate, l7Share: readShare(options.l7) };
    const prices = options.prices === undefined ? EXAMPLE_PRICES : readPrices(options.prices);
    const sidecar = sidecarCost(COEFFICIENTS, cluster, prices);
    const ambient = ambientCost(COEFFICIENTS, cluster, prices);
    const value = { cluster, prices, sidecar, ambient, coefficients: COEFFICIENTS };
    printResult(terminal, options.output, value, () =>
      formatCosts(terminal, cluster, prices, sidecar, ambient),
    );
    return Promise.resolve(EXIT.ok);
  },
});

function readShare(text: string): number {
  const share = Number(text);
  if (text.trim() !== '' && share >= 0 && share <= 1) return share;
  throw usageError(`Cannot read --l7 ${text}: use a number from 0 to 1, such as 0.1`);
}

function formatCosts(
  terminal: Terminal,
  cluster: Cluster,
  prices: Prices,
  sidecar: Cost,
  ambient: Cost,
): string {
  const line = (name: string, { memoryGb, cpus, perMonth }: Cost): string[] => [
    name,
    `${memoryGb.toFixed(2)} GB`,
    cpus.toFixed(2),
    `${perMonth.toFixed(2)} ${prices.currency}`,
  ];
  const { provenance } = COEFFICIENTS;
  const { pods, nodes, callsPerSecond, l7Share } = cluster;
  return [
    `${pods} pods, ${nodes} nodes, ${callsPerSecond} calls a second, ${l7Share * 100} % of them through waypoints:`,
    '',
    formatTable(
      terminal,
      ['', 'MEMORY', 'CPU', 'A MONTH'],
      [line('sidecars (Envoy)', sidecar), line('ambient', ambient)],
    ),
    'Sidecars:',
    ...sidecar.formulas.map((formula) => `  ${formula}`),
    'Ambient:',
    ...ambient.formulas.map((formula) => `  ${formula}`),
    '',
    `Measured ${provenance.measuredAt.slice(0, 10)} at ${provenance.commit} with ${provenance.pods.join(', ')} pods on ` +
      `${provenance.nodes} nodes, ${provenance.callsPerSecond} calls a second (${provenance.machine}; Envoy ${provenance.envoy}).`,
    ...(provenance.quiet ? [] : ['The machine was busy meanwhile: take it for a rough idea.']),
    ...(provenance.pods.length > 1
      ? []
      : ['Only one size was measured: how proxies grow with the number of pods is not in it.']),
    `Prices: ${prices.source}.`,
    '',
  ].join('\n');
}
