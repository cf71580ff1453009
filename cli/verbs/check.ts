import { existsSync } from 'node:fs';
import { MeshError } from '../../base/errors.ts';
import type { SandboxPaths } from '../../deploy/sandbox/api.ts';
import { checkFiles } from '../../istiod-lite/check.ts';
import { formatProblem, type ConfigProblem, type Severity } from '../../mesh/kubernetes/problem.ts';
import { defineVerb, EXIT, outputOptions, sandboxOptions } from '../command.ts';
import { readManifests } from '../manifests.ts';
import { checkMesh, type MeshFinding } from '../mesh-check.ts';
import { printResult } from '../output.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { paint, printable, type Terminal } from '../terminal.ts';

export const check = defineVerb({
  name: 'check',
  aliases: ['validate'],
  group: 'Looking into it',
  summary: 'Find what is wrong or without effect, in files or in the running mesh',
  details: `With PATH: checks files before they are applied, with the place of each problem; what they refer to may be in them or
in the running sandbox. Without: checks the running mesh: its parts, enrolment, certificates near their end, proxies
that are behind, and configuration that has no effect.

It ends with 1 when there is an error; with --strict, also when there is a warning.

Examples:
  halo check
  halo check app/ policies.yaml`,
  arguments: [
    {
      name: 'PATH',
      summary: 'files, folders, or -',
      optional: true,
      rest: true,
      complete: 'files',
    },
  ],
  options: {
    file: {
      type: 'list',
      short: 'f',
      placeholder: 'PATH',
      summary: 'the same as PATH',
      complete: 'files',
    },
    strict: { type: 'flag', summary: 'a warning is a failure too' },
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: words, terminal }) {
    const paths = [...words, ...options.file];
    const sandbox = new Sandbox(sandboxName(options.name));
    const problems =
      paths.length > 0 ? await checkBeforeApply(sandbox, paths) : await checkApplied(sandbox);
    const mesh = paths.length > 0 ? [] : await checkMesh(await sandbox.status());
    const value = paths.length > 0 ? problems : { mesh, files: problems };
    printResult(terminal, options.output, value, () => formatFindings(terminal, problems, mesh));
    const severities = new Set([...problems, ...mesh].map(({ severity }) => severity));
    const failed = severities.has('error') || (options.strict && severities.has('warning'));
    return failed ? EXIT.failed : EXIT.ok;
  },
});

/** The files of a running sandbox are the surroundings; without one, the files must stand for themselves. */
async function checkBeforeApply(
  sandbox: Sandbox,
  paths: readonly string[],
): Promise<readonly ConfigProblem[]> {
  const files = await textsOf(paths);
  const running = await sandbox.status().catch((error: unknown) => {
    if (error instanceof MeshError && error.code === 'ERR_NOT_RUNNING') return undefined;
    throw error;
  });
  const context = running === undefined ? undefined : await textsOf(objectFolders(running.paths));
  return checkFiles(files, context === undefined ? {} : { context });
}

/** What was applied, among all that is there. */
async function checkApplied(sandbox: Sandbox): Promise<readonly ConfigProblem[]> {
  const { paths } = await sandbox.status();
  const [user, core] = [paths.userObjects, paths.coreObjects];
  return checkFiles(await textsOf([user].filter(existsSync)), {
    context: await textsOf([core].filter(existsSync)),
  });
}

function objectFolders({ userObjects, coreObjects }: SandboxPaths): string[] {
  return [userObjects, coreObjects].filter(existsSync);
}

async function textsOf(paths: readonly string[]): Promise<Map<string, string>> {
  const manifests = await readManifests(paths, { emptyFolders: true });
  return new Map(manifests.map(({ source, text }) => [source, text]));
}

function formatFindings(
  terminal: Terminal,
  problems: readonly ConfigProblem[],
  mesh: readonly MeshFinding[],
): string {
  const lines = [
    ...mesh.map(({ severity, subject, message }) => ({
      severity,
      text: `${severity}: ${subject}: ${message}`,
    })),
    ...problems.map((problem) => ({ severity: problem.severity, text: formatProblem(problem) })),
  ];
  if (lines.length === 0) return 'Nothing found\n';
  const count = (severity: Severity): number =>
    lines.filter((line) => line.severity === severity).length;
  return [
    ...lines.map(({ severity, text }) =>
      paint(terminal, severity === 'error' ? 'bad' : 'warning', printable(text)),
    ),
    `${count('error')} errors, ${count('warning')} warnings`,
    '',
  ].join('\n');
}
