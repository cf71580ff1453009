import type { Environment } from './environment.ts';
import type { Results } from './results.ts';
import { rowCells } from './table.ts';

/** What a run proves, as a page: where it ran, every row, and what is missing. @param command that repeats it. */
export function formatPublication(results: Results, command: string): string {
  const { benchmark, startedAt, environment, settings, rows, failures } = results;
  const [head = [], ...lines] = rowCells(rows);
  return [
    `# ${benchmark}, ${startedAt.slice(0, 10)}`,
    '',
    `By \`${command}\` on a quiet machine; what rows mean, and how they are measured, is in [bench/README.md](../../bench/README.md).`,
    'Medians of all rounds; a ratio is ours to the better peer in the same rounds. Every round is in the JSON file beside this one.',
    '',
    ...describeEnvironment(environment),
    `- settings: ${JSON.stringify(settings)}`,
    '',
    tableLine(head),
    tableLine(head.map(() => '---')),
    ...lines.map(tableLine),
    '',
    ...failures.map(({ question, error }) => `Not measured: ${question}: ${error}`),
    ...(results.notCompared ?? []).map((line) => `Not compared: ${line}`),
  ]
    .map((line) => `${line}\n`)
    .join('');
}

function describeEnvironment(environment: Environment): string[] {
  const { cpu, cpus, memoryGiB, system, node, openssl, commit, versions } = environment;
  const linux = `Linux ${environment.kernel}, TCP ${environment.congestionControl}`;
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `- ${cpus} cores of ${cpu}, ${memoryGiB} GiB; ${system}, ${linux}`,
    `- Node ${node}, OpenSSL ${openssl}; commit ${commit}`,
    `- against ${peers.join(', ')}`,
  ];
}

function tableLine(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
