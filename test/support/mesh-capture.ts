import { spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { IpAddress } from '../../base/address.ts';
import { countTlsRecords, joinStreams, parseSegment, type Segment } from '../../cli/demo/frames.ts';
import { withDeadline } from './deadline.ts';
import type { Peer } from './mesh-peer.ts';

/** Where every HBONE session ends, as Istio has it. */
export const HBONE_PORT = 15008;

const PROGRAM = join(import.meta.dirname, '../../cli/demo/capture-program.ts');
const START_TIMEOUT_MS = 10_000;
const MARK_TIMEOUT_MS = 10_000;

/** The command that prints the frames of all interfaces of the network namespace that it runs in. */
export const CAPTURE_COMMAND: readonly string[] = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  PROGRAM,
];

/** The frames that a capture program prints: each with four bytes of length before it. */
export class FrameReader {
  readonly frames: Buffer[] = [];
  readonly #events = new EventTarget();
  #rest = Buffer.alloc(0);
  #started = false;

  take(chunk: Uint8Array): void {
    let bytes = Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 4) {
      const length = bytes.readUInt32BE(0);
      if (bytes.length < 4 + length) break;
      // The empty one says that it listens.
      if (length === 0) this.#started = true;
      else this.frames.push(bytes.subarray(4, 4 + length));
      bytes = bytes.subarray(4 + length);
    }
    this.#rest = bytes;
    this.#events.dispatchEvent(new Event('frames'));
  }

  /** Resolves when every frame from now on is seen. */
  started(): Promise<void> {
    return this.#until(() => this.#started, START_TIMEOUT_MS, 'the capture listens');
  }

  /** Resolves when a frame with that text has come: what was sent before it has come too. */
  reaches(text: string): Promise<void> {
    const isThere = (): boolean => this.frames.some((frame) => frame.includes(text));
    return this.#until(isThere, MARK_TIMEOUT_MS, 'the capture sees its end mark');
  }

  async #until(condition: () => boolean, timeoutMs: number, what: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const look = (): void => {
      if (condition()) resolve(undefined);
    };
    this.#events.addEventListener('frames', look);
    look();
    try {
      await withDeadline(promise, timeoutMs, what);
    } finally {
      this.#events.removeEventListener('frames', look);
    }
  }
}

/**
 * Captures in the network namespace of a process, as the outside sees it: in the outermost one of a sandbox all that
 * crosses its bridge.
 *
 * @returns how to end it.
 */
export function captureBeside(pid: number, reader: FrameReader): () => void {
  const ownUsers =
    readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync('/proc/self/ns/user')
      ? []
      : ['--user', '--preserve-credentials'];
  const enter = ['--target', String(pid), ...ownUsers, '--net'];
  const program = spawn('nsenter', [...enter, ...CAPTURE_COMMAND], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  program.stdout.on('data', (chunk: Buffer) => {
    reader.take(chunk);
  });
  return () => program.kill('SIGKILL');
}

/** What was on a wire while something happened. */
export class Wire {
  readonly frames: readonly Buffer[];
  readonly segments: readonly Segment[];

  constructor(frames: readonly Buffer[]) {
    // Not what a pod says to itself: redirected connections go over its loopback interface, in plain text.
    this.frames = frames.filter((frame) => !frame.subarray(0, 12).equals(NO_ADDRESSES));
    this.segments = this.frames.flatMap((frame) => parseSegment(frame) ?? []);
  }

  /** In how many frames a text can be read. */
  readable(text: string): number {
    return this.frames.filter((frame) => frame.includes(text)).length;
  }

  /** The TCP segments with payload between two of these addresses. */
  between(addresses: readonly string[]): Segment[] {
    const among = (ip: IpAddress): boolean => addresses.includes(ip);
    return this.segments.filter(
      ({ source, destination, payload }) =>
        payload.length > 0 && among(source.ip) && among(destination.ip),
    );
  }

  /** What between these addresses is not TLS on port 15008, a sentence each; one too when there was nothing at all. */
  complaints(addresses: readonly string[]): string[] {
    const between = this.between(addresses);
    if (between.length === 0) return [`nothing was sent between ${addresses.join(', ')}`];
    const elsewhere = between
      .filter(({ source, destination }) => ![source.port, destination.port].includes(HBONE_PORT))
      .map(
        ({ source, destination }) =>
          `${source.ip}:${source.port} -> ${destination.ip}:${destination.port}`,
      );
    const plain = joinStreams(between)
      .filter((stream) => countTlsRecords(stream) === undefined)
      .map((stream) => `not TLS: ${JSON.stringify(stream.subarray(0, 40).toString('latin1'))}`);
    return [...new Set(elsewhere), ...plain];
  }
}

/** Of loopback frames: neither sender nor receiver has an Ethernet address. */
const NO_ADDRESSES = Buffer.alloc(12);

/** What a capture sees while `action` runs; `mark` sends a text that the capture must see after all before it. */
export async function captureWhile(
  reader: FrameReader,
  action: () => Promise<void>,
  mark: (text: string) => Promise<void>,
): Promise<Wire> {
  await reader.started();
  await action();
  const text = crypto.randomUUID();
  await mark(text);
  await reader.reaches(text);
  return new Wire(reader.frames);
}

/** UDP port 9, discard: whoever gets it does nothing with it. */
export async function sendMark(peer: Peer, host: string, text: string): Promise<void> {
  await peer.ask('udpSend', { host, port: 9, text });
}
