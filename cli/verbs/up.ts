import {
  DEFAULT_SANDBOX_NAME,
  type ApplyResponse,
  type SandboxSettings,
} from '../../deploy/sandbox/api.ts';
import { startSandbox, stopSandbox } from '../../deploy/sandbox/launch.ts';
import { refuseErrors } from '../../deploy/sandbox/refuse-errors.ts';
import { defineVerb, EXIT, sandboxOptions, usageError } from '../command.ts';
import { parseImages } from '../images.ts';
import { readManifests, type Manifest } from '../manifests.ts';
import { Progress } from '../progress.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';
import { printable, type Terminal } from '../terminal.ts';

export const up = defineVerb({
  name: 'up',
  group: 'The mesh',
  summary: 'Start a mesh on this machine, and leave it running',
  details: `It returns when the control plane and every node's proxy are ready, and what -f names runs. Nodes and pods are
network namespaces of their own: the host's interfaces, routes and rules are not touched. Root is not needed where user
namespaces are allowed.

An image is not pulled: --image says which local command stands for it. A container's own command wins over it; its
args follow either. halo/echo (a server) and halo/client (waits to be told) are always there.

Examples:
  halo up
  halo up -f app/ --nodes 3 --image nginx="python3 -m http.server 80"
  halo up --name other`,
  options: {
    file: {
      type: 'list',
      short: 'f',
      placeholder: 'PATH',
      summary: 'apply these too: file, folder, or -',
      complete: 'files',
    },
    nodes: {
      type: 'number',
      placeholder: 'N',
      summary: 'how many nodes',
      min: 1,
      max: 9,
      default: 2,
    },
    image: { type: 'list', placeholder: 'NAME=COMMAND', summary: 'the local command for an image' },
    'part-env': {
      type: 'list',
      placeholder: 'PART:NAME=VALUE',
      summary: 'environment of istiod-lite, ztunnel or node-agent',
    },
    'no-dns-capture': {
      type: 'flag',
      summary: "leave the pods' DNS questions to cluster DNS instead of ztunnel",
    },
    'no-mesh': { type: 'flag', summary: 'nodes, pods and Services alone' },
    timeout: {
      type: 'duration',
      placeholder: 'TIME',
      summary: 'how long to wait until it is ready',
      default: 60_000,
    },
    ...sandboxOptions,
  },
  async run({ options, terminal }) {
    const startedMs = performance.now();
    const settings: SandboxSettings = {
      name: sandboxName(options.name),
      nodes: options.nodes,
      mesh: !options['no-mesh'],
      dnsCapture: !options['no-dns-capture'],
      images: parseImages(options.image),
      partEnvironment: parsePartEnvironment(options['part-env']),
    };
    const manifests = await readManifests(options.file);
    for (const warning of refuseErrors(manifests)) terminal.note(`${printable(warning)}\n`);
    const unsettled = await startMesh(settings, manifests, options.timeout, terminal);
    const which = settings.name === DEFAULT_SANDBOX_NAME ? '' : ` --name ${settings.name}`;
    if (unsettled.length > 0) {
      terminal.note(`Not ready in time: ${unsettled.join('; ')}\n`);
      terminal.note(
        `It is left running. See: halo status${which}; end it with: halo down${which}\n`,
      );
      return EXIT.timedOut;
    }
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    terminal.out(
      `Sandbox "${settings.name}" is ready: ${settings.nodes} nodes, ${seconds} s. End it with: halo down${which}\n`,
    );
    return EXIT.ok;
  },
});

/**
 * Starts a sandbox, applies what belongs into it, and waits until all of it is ready. When something is refused, or the
 * wait is interrupted, what was started is ended again.
 *
 * @returns what is not ready when the time is over; nothing when all is.
 */
export async function startMesh(
  settings: SandboxSettings,
  manifests: readonly Manifest[],
  timeoutMs: number,
  terminal: Terminal,
): Promise<readonly string[]> {
  using progress = new Progress(terminal, 'Starting');
  const deadlineMs = performance.now() + timeoutMs;
  const leftMs = (): number => Math.max(1, Math.round(deadlineMs - performance.now()));
  await startSandbox(settings);
  const watching = new AbortController();
  try {
    const sandbox = new Sandbox(settings.name);
    const over = AbortSignal.any([watching.signal, terminal.signal]);
    void showEvents(sandbox, progress, over);
    if (manifests.length > 0)
      await sandbox.post<ApplyResponse>('/v1/apply', { documents: manifests });
    for (const what of ['ready', 'settled'] as const) {
      const { done, unsettled } = await sandbox.wait(what, leftMs(), terminal.signal);
      if (!done) return unsettled.length > 0 ? unsettled : [`not ${what}`];
    }
    return [];
  } catch (error) {
    progress.say('Ending what was started');
    await stopSandbox(settings.name);
    throw error;
  } finally {
    watching.abort();
  }
}

/** Shows what the sandbox says it is doing, until the signal; never rejects. */
async function showEvents(
  sandbox: Sandbox,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const event of sandbox.events(signal)) {
      if (event.type === 'progress') progress.say(event.message);
      if (event.type === 'problem') progress.say(`Problem: ${event.message}`);
      if (event.type === 'part' && event.part.state !== 'ready')
        progress.say(
          `Waiting for ${event.part.name}${event.part.detail === undefined ? '' : `: ${event.part.detail}`}`,
        );
    }
  } catch {
    // Only the display depends on it; whoever waits for the sandbox hears of a failure.
  }
}

function parsePartEnvironment(options: readonly string[]): Record<string, Record<string, string>> {
  const parts = new Map<string, Record<string, string>>();
  for (const option of options) {
    const [, part = '', name = '', value = ''] =
      /^([a-z0-9-]+):([A-Za-z_]\w*)=(.*)$/s.exec(option) ?? [];
    if (part === '')
      throw usageError(
        `Cannot read --part-env ${option}: use PART:NAME=VALUE, such as ztunnel:LOG_FORMAT=json`,
      );
    parts.set(part, { ...parts.get(part), [name]: value });
  }
  return Object.fromEntries(parts);
}
