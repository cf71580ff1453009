import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { startChild } from '../harness/child.ts';
import { processMemory, processorTimeUs } from '../harness/processes.ts';
import { readWrkErrors } from '../l4/requests.ts';
import type { Job, Measuring, Subject } from './job.ts';
import type { Work } from './works.ts';

/** Longer than any measurement: wrk takes whole seconds, and is told to end before. */
const WRK_SECONDS = 600;
/** From the end of a measurement to the end of h2load, which cannot be told: counting has to be over by then. */
const H2LOAD_MORE_MS = 200;

export type Asked = Readonly<{ work: Work; path: string; connections: number }>;

/**
 * As much load as a subject takes; what passed in the middle of it is counted by the server behind, so that neither
 * connecting nor handshakes are part of it.
 *
 * @throws {Error} when requests failed.
 */
export async function measure(
  job: Job,
  { pids, port }: Subject,
  asked: Asked,
  { ms, warmMs }: Pick<Measuring, 'ms' | 'warmMs'>,
): Promise<Record<string, number>> {
  const url = `http://127.0.0.1:${port(asked.work) ?? ''}${asked.path}`;
  await job.place?.(asked.connections);
  const load = startLoad(job, asked, url, warmMs + ms + H2LOAD_MORE_MS);
  const count = async (): Promise<{ requests: number; cpuUs: number; atMs: number }> => ({
    requests: await job.requests(),
    cpuUs: processorTimeUs(pids),
    atMs: performance.now(),
  });
  await wait(warmMs);
  const before = await count();
  await wait(ms);
  const after = await count();
  const privateMb = processMemory(pids).privateDirty / (1 << 20);
  await load.finish();
  const requests = after.requests - before.requests;
  const cpuUs = after.cpuUs - before.cpuUs;
  return {
    perSecond: (requests * 1000) / (after.atMs - before.atMs),
    perCpuSecond: (requests * 1e6) / cpuUs,
    cpuUs: cpuUs / requests,
    privateMb,
  };
}

type RunningLoad = Readonly<{
  /** @throws {Error} when requests failed. */
  finish(): Promise<void>;
}>;

function startLoad(job: Job, asked: Asked, url: string, ms: number): RunningLoad {
  const wrk = asked.work.from === 'http1';
  const command = wrk ? wrkCommand(asked, url) : h2loadCommand(job, asked, url, ms);
  const child = startChild(job.enter(command));
  const ended = Promise.all([text(child.stdout), once(child, 'close')]);
  ended.catch(() => undefined); // awaited by finish()
  return {
    async finish() {
      if (wrk) child.kill('SIGINT');
      const [report] = await ended;
      const errors = wrk ? readWrkErrors(report) : readH2loadErrors(report);
      if (errors !== undefined) throw new Error(`Cannot count requests: ${errors}`);
    },
  };
}

function wrkCommand({ connections }: Asked, url: string): string[] {
  return ['wrk', '-t1', `-c${connections}`, `-d${WRK_SECONDS}s`, url];
}

/** One request at a time on each connection, as wrk. */
function h2loadCommand(
  { messageFile }: Job,
  { work, connections }: Asked,
  url: string,
  ms: number,
): string[] {
  const grpc = ['-d', messageFile, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  return [
    ...['h2load', '-t1', `-c${connections}`, '-m1', '-D', `${Math.round(ms)}ms`],
    ...(work.call === 'grpc' ? grpc : []),
    url,
  ];
}

/** h2load's own count of what went wrong; none when nothing did. */
export function readH2loadErrors(report: string): string | undefined {
  const line = /^requests: .*$/m.exec(report)?.[0] ?? '';
  const [, succeeded, failed, errored] =
    /(\d+) succeeded, (\d+) failed, (\d+) errored/.exec(line) ?? [];
  if (succeeded === undefined || succeeded === '0') return `no request succeeded: ${line}`;
  return failed === '0' && errored === '0' ? undefined : line;
}
