import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { MeshError } from '../../base/errors.ts';
import { EXEC_PROTOCOL } from '../../deploy/sandbox/api.ts';
import {
  encodeExecFrame,
  ExecFrameDecoder,
  type ExecExit,
} from '../../deploy/sandbox/exec-frames.ts';
import { defineVerb, namespaceOptions, sandboxOptions, usageError } from '../command.ts';
import { namespaceOf } from '../object-fields.ts';
import { findPod } from '../references.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import type { Terminal } from '../terminal.ts';

export const exec = defineVerb({
  name: 'exec',
  group: 'Pods',
  summary: 'Run a command inside a pod',
  details: `It ends with the exit code of the command. --outside runs it in the namespace that belongs to the sandbox's
network but is no pod, which is how something outside the mesh sees it.

Examples:
  halo exec deploy/client -- curl -s http://web.shop/
  echo hello | halo exec -i client -- cat
  halo exec --outside -- curl -s http://10.244.1.5:8080/`,
  arguments: [
    {
      name: 'POD',
      summary: 'NAME, NAMESPACE/NAME or deploy/NAME; not with --outside',
      complete: 'workloads',
    },
    { name: 'COMMAND', summary: 'what to run', optional: true, rest: true },
  ],
  options: {
    container: {
      type: 'text',
      short: 'c',
      placeholder: 'NAME',
      summary: 'the container (default the first)',
    },
    stdin: { type: 'flag', short: 'i', summary: 'pass the standard input on' },
    outside: { type: 'flag', summary: 'outside the mesh instead of in a pod' },
    ...namespaceOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: words, terminal }) {
    const sandbox = new Sandbox(sandboxName(options.name));
    const command = options.outside ? words : words.slice(1);
    if (command.length === 0) throw usageError('Say what to run: halo exec POD -- COMMAND...');
    const target = options.outside
      ? { outside: true }
      : await podTarget(sandbox, words[0] ?? '', options.namespace, options.container);
    const query = { ...target, command };
    const socket = await sandbox.upgrade('/v1/exec', query, EXEC_PROTOCOL, terminal.signal);
    const input = options.stdin ? process.stdin : undefined;
    return runExec(socket, terminal, input);
  },
});

async function podTarget(
  sandbox: Sandbox,
  reference: string,
  namespace: string | undefined,
  container: string | undefined,
): Promise<{ namespace: string; pod: string; container: string | undefined }> {
  const pod = await findPod(sandbox, reference, namespace);
  return { namespace: namespaceOf(pod), pod: pod.metadata.name, container };
}

/**
 * Joins an exec connection to the terminal until the command has ended. Without `input` the command's is empty; with
 * 'keep-open' it is left to the caller, who writes frames to the socket.
 *
 * @returns its exit code.
 * @throws {MeshError} ERR_EXEC when it could not be started, or the connection ended before it did.
 */
export async function runExec(
  socket: Socket,
  terminal: Pick<Terminal, 'out' | 'note'>,
  input?: Readable | 'keep-open',
): Promise<number> {
  const decoder = new ExecFrameDecoder();
  const forward = input instanceof Readable ? forwardInput(socket, input) : undefined;
  if (input === undefined) socket.write(encodeExecFrame('stdin', Buffer.alloc(0)));
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>)
      for (const { channel, payload } of decoder.push(chunk)) {
        if (channel === 'stdout') terminal.out(payload);
        if (channel === 'stderr') terminal.note(payload);
        if (channel !== 'exit') continue;
        const { code, error } = JSON.parse(payload.toString()) as ExecExit;
        if (error !== undefined) throw new MeshError('ERR_EXEC', 'local', error);
        return code;
      }
  } finally {
    forward?.();
    socket.destroy();
  }
  throw new MeshError(
    'ERR_EXEC',
    'local',
    'Cannot tell how the command ended: the connection broke',
  );
}

/** Sends the input until it ends, no faster than it is taken; the answer stops it. */
function forwardInput(socket: Socket, input: Readable): () => void {
  const send = async (): Promise<void> => {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      if (!socket.write(encodeExecFrame('stdin', chunk))) await once(socket, 'drain');
    }
    socket.write(encodeExecFrame('stdin', Buffer.alloc(0)));
  };
  // When the command ends first, the socket is gone and so is whoever would read the input.
  send().catch(() => undefined);
  return () => {
    input.destroy();
  };
}
