import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import type { Socket } from 'node:net';
import { OUTSIDE } from './addresses.ts';
import { EXEC_PROTOCOL } from './api.ts';
import type { Cluster } from './cluster.ts';
import { baseEnvironment, endOf } from './container.ts';
import { apiError, switchingProtocols } from './control-http.ts';
import { encodeExecFrame, ExecFrameDecoder, type ExecExit } from './exec-frames.ts';
import { netnsPath } from './networks.ts';

/** What the client may be behind with the output before the program is made to wait. */
const MAX_BACKLOG_BYTES = 256 * 1024;
/** After its client has gone, a program has this long from the end of its input to SIGHUP, as a terminal would send. */
const END_OF_INPUT_GRACE_MS = 500;
/** And this long from SIGHUP to SIGKILL. */
const HANGUP_GRACE_MS = 1500;

/**
 * Runs a command where the query says and carries its input and output as frames.
 *
 * @throws {MeshError} before the upgrade, when there is no such place.
 */
export function serveExec(
  cluster: Cluster,
  query: URLSearchParams,
  socket: Socket,
  head: Buffer,
): void {
  const { command, environment, podEnded } = execTarget(cluster, query);
  const [program = '', ...args] = command;
  socket.write(switchingProtocols(EXEC_PROTOCOL));
  const child = spawn(program, args, {
    env: Object.fromEntries(environment),
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  carryOutput(child, socket);
  carryInput(child, socket, head);
  endWith(child, socket, podEnded);
}

function carryOutput(child: ChildProcessWithoutNullStreams, socket: Socket): void {
  const finish = (exit: ExecExit): void => {
    if (!socket.destroyed) socket.end(encodeExecFrame('exit', Buffer.from(JSON.stringify(exit))));
  };
  for (const channel of ['stdout', 'stderr'] as const) {
    const pipe = child[channel];
    pipe.on('data', (chunk: Buffer) => {
      if (socket.destroyed) return;
      socket.write(encodeExecFrame(channel, chunk));
      if (socket.writableLength > MAX_BACKLOG_BYTES) pipe.pause();
    });
    socket.on('drain', () => pipe.resume());
    // Nobody reads it any more: the program must not wait for that.
    socket.on('close', () => pipe.resume());
  }
  child.on('error', (error) => {
    finish({ code: 126, error: error.message });
  });
  child.on('close', (code, signal) => {
    finish(endOf(code, signal));
  });
}

function carryInput(child: ChildProcessWithoutNullStreams, socket: Socket, head: Buffer): void {
  const decoder = new ExecFrameDecoder();
  const take = (chunk: Buffer): void => {
    try {
      for (const { channel, payload } of decoder.push(chunk)) {
        if (channel !== 'stdin') continue;
        if (payload.length === 0) child.stdin.end();
        else if (!child.stdin.write(payload)) socket.pause();
      }
    } catch {
      socket.destroy();
    }
  };
  child.stdin.on('error', () => undefined); // it does not read
  child.stdin.on('drain', () => socket.resume());
  socket.on('data', take);
  // A client that sends no more and reads no more has gone; one that waits for the answer keeps its side open.
  socket.on('end', () => socket.destroy());
  socket.on('close', () => {
    child.stdin.end();
  });
  if (head.length > 0) take(head);
}

/** Sees to it that nothing of the program outlives its client or its pod. */
function endWith(
  child: ChildProcessWithoutNullStreams,
  socket: Socket,
  podEnded: AbortSignal | undefined,
): void {
  let ended = false;
  const timers: NodeJS.Timeout[] = [];
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // Nothing is left of it.
    }
  };
  const kill = (): void => {
    signalGroup('SIGKILL');
  };
  socket.on('close', () => {
    if (ended) return;
    const hangUp = setTimeout(() => {
      signalGroup('SIGHUP');
    }, END_OF_INPUT_GRACE_MS);
    timers.push(hangUp, setTimeout(kill, END_OF_INPUT_GRACE_MS + HANGUP_GRACE_MS));
  });
  podEnded?.addEventListener('abort', kill);
  // Its pipes are closed: by its end, and by the end of whatever it left behind.
  child.on('close', () => {
    ended = true;
    for (const timer of timers) clearTimeout(timer);
    podEnded?.removeEventListener('abort', kill);
    // What it started and left without pipes is no longer anybody's.
    if (socket.destroyed) kill();
  });
}

type ExecTarget = Readonly<{
  command: readonly string[];
  environment: ReadonlyMap<string, string>;
  podEnded?: AbortSignal;
}>;

function execTarget(cluster: Cluster, query: URLSearchParams): ExecTarget {
  const command = query.getAll('command');
  if (command.length === 0) throw apiError('ERR_EXEC', 'Cannot run nothing: name a command');
  if (query.get('outside') === 'true') {
    const enter = ['nsenter', `--net=${netnsPath(OUTSIDE)}`];
    const environment = new Map(Object.entries(baseEnvironment({ HOSTNAME: OUTSIDE })));
    return { command: [...enter, ...command], environment };
  }
  const namespace = query.get('namespace') ?? 'default';
  const name = query.get('pod') ?? '';
  cluster.store.mustGet({ kind: 'Pod', namespace, name });
  const container = query.get('container') ?? undefined;
  const runner = cluster.pods.runner(namespace, name);
  const target = runner?.execCommand(container, command);
  if (runner !== undefined && target !== undefined) return { ...target, podEnded: runner.ended };
  const which = container === undefined ? '' : ` container ${container}`;
  throw apiError('ERR_EXEC', `Cannot run in pod ${namespace}/${name}${which}: it does not run`);
}
