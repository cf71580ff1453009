import { processTree, readProc } from '../../bench/harness/processes.ts';

/**
 * Ends the processes of test files by force; ava then names the files.
 *
 * @returns for each, what it and the processes below it were.
 */
export function endWorkers(runnerPid: number): string[] {
  const workers = processTree(runnerPid).filter((pid) => command(pid).includes('/ava/lib/worker/'));
  const lines = workers.flatMap((worker) =>
    processTree(worker).map((pid) => `${pid} ${state(pid)} ${command(pid)}`),
  );
  for (const worker of workers) process.kill(worker, 'SIGKILL');
  return lines;
}

/** Whether it runs, sleeps, or waits for a device, and where in the kernel. */
function state(pid: number): string {
  const name = /^State:\s+(.*)$/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? 'gone';
  return `${name} ${readProc(`/proc/${pid}/wchan`)}`.trim();
}

function command(pid: number): string {
  return readProc(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
}
