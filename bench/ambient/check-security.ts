import { OUTSIDE } from '../../deploy/sandbox/addresses.ts';
import { netnsPath } from '../../deploy/sandbox/networks.ts';
import { joinStreams } from '../../cli/demo/frames.ts';
import {
  captureBeside,
  captureWhile,
  FrameReader,
  type Wire,
} from '../../test/support/mesh-capture.ts';
import { runChild } from '../harness/child.ts';
import { requestPath } from './application.ts';
import type { Deployment } from './deployment.ts';

/** A text that stands on the wire wherever nobody encrypts. */
const MARKER = 'x-plainly-readable-f3b1';
const TIMEOUT_MS = 5000;
/** So that both replicas of each service answer one, on both nodes. */
const REQUESTS = 4;

/** What a mode was seen to do with the very requests that are measured. */
export type Security = Readonly<{
  /** Nothing of the requests could be read between the nodes. */
  encrypts: boolean;
  /** A call by an identity that no policy allows was refused. */
  authorises: boolean;
  /** TLS 1.3 cipher suites that servers chose, such as `TLS_AES_128_GCM_SHA256`. */
  ciphers: readonly string[];
}>;

/**
 * Looks what is on the wire between the nodes while requests take every path, and whether a forbidden call is refused.
 *
 * @throws {Error} when a mode is not what it says: nothing of it would be worth a measurement.
 */
export async function checkSecurity(deployment: Deployment): Promise<Security> {
  const { graph, mode } = deployment.options;
  const reader = new FrameReader();
  const stop = captureBeside(deployment.bench.insider, reader);
  try {
    let refused = false;
    const wire = await captureWhile(
      reader,
      async () => {
        await askEveryPath(deployment);
        const forbidden = graph.services.find(({ layer }) => layer === 'leaf')?.name ?? '';
        const target = deployment.target(forbidden);
        const { status } = await deployment.load.ask('httpGet', { target, timeoutMs: TIMEOUT_MS });
        refused = status !== '200';
      },
      (text) => sendMark(deployment, text),
    );
    const security: Security = {
      ...{ encrypts: wire.readable(MARKER) === 0, authorises: refused },
      ciphers: ciphersOf(wire),
    };
    const wanted = mode.proxies !== 'none';
    // Without a mesh the same look has to see plain text, or it proves nothing.
    if (security.encrypts !== wanted || security.authorises !== wanted)
      throw new Error(`Cannot measure ${mode.name}: it was seen to ${JSON.stringify(security)}`);
    return security;
  } finally {
    stop();
  }
}

/** The load over every path; and the probe at every service, which opens sessions of its own, so that handshakes are seen. */
async function askEveryPath(deployment: Deployment): Promise<void> {
  const { load, probe, options } = deployment;
  const target = deployment.target.bind(deployment);
  const asked = [
    ...options.graph.paths.map((path) => ({ by: load, to: target(path[0], requestPath(path)) })),
    ...options.graph.services.map(({ name }) => ({ by: probe, to: target(name) })),
  ];
  const headers = { [MARKER]: MARKER };
  for (const { by, to } of asked)
    for (let count = 0; count < REQUESTS; count++) {
      const { status } = await by.ask('httpGet', {
        ...{ target: { ...to, headers }, timeoutMs: TIMEOUT_MS },
      });
      if (status !== '200')
        throw new Error(
          `Cannot measure ${options.mode.name}: ${to.authority}${to.path} answers ${status}`,
        );
    }
}

/** By UDP to the port that discards it, from a place that no mode touches: all that was sent before has come then. */
async function sendMark({ bench }: Deployment, text: string): Promise<void> {
  const node = (await bench.status()).nodes[0]?.addresses.find((ip) => !ip.includes(':')) ?? '';
  const send = ['bash', '-c', 'echo "$1" > "/dev/udp/$2/9"', 'bash', text, node];
  await runChild(bench.enter(bench.fromOutside(netnsPath(OUTSIDE)), send));
}

const SUITES: ReadonlyMap<number, string> = new Map([
  [0x1301, 'TLS_AES_128_GCM_SHA256'],
  [0x1302, 'TLS_AES_256_GCM_SHA384'],
  [0x1303, 'TLS_CHACHA20_POLY1305_SHA256'],
]);
const HANDSHAKE_RECORD = 0x16;
const SERVER_HELLO = 2;
/** Record header, message header, version, random. */
const SESSION_ID_AT = 5 + 4 + 2 + 32;

function ciphersOf(wire: Wire): readonly string[] {
  return [
    ...new Set(joinStreams(wire.segments).flatMap((stream) => serverHelloCipher(stream) ?? [])),
  ];
}

/** What a stream's first record chose, when that is a ServerHello (RFC 8446, 4.1.3). */
export function serverHelloCipher(stream: Uint8Array): string | undefined {
  if (stream[0] !== HANDSHAKE_RECORD || stream[5] !== SERVER_HELLO) return undefined;
  const at = SESSION_ID_AT + 1 + (stream[SESSION_ID_AT] ?? 0);
  const suite = ((stream[at] ?? 0) << 8) | (stream[at + 1] ?? 0);
  return SUITES.get(suite) ?? `0x${suite.toString(16).padStart(4, '0')}`;
}
