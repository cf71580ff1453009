import { Agent, get, type OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';

/*
 * What the demo runs inside pods:
 *   get URL             one HTTP request; prints the answer's body
 *   spread URL COUNT [NAME:VALUE]   that many requests, with a header; prints how many each pod has answered, by status
 *   load URL SECONDS    requests from several callers, each on a connection of its own; what breaks is asked once more;
 *                       prints how many were answered by which status, broke, and were answered when asked again
 *   hold HOST PORT      one connection: what comes on stdin is sent, what comes back is printed, until either ends
 *   certificate HOST PORT   the serial number and identity that a TLS server on that port proves
 */
const TIMEOUT_MS = 5_000;
/** Of `load`. */
const CALLERS = 8;

const [verb, first = '', second = '', third = ''] = process.argv.slice(2);
switch (verb) {
  case 'get':
    getOnce(first);
    break;
  case 'spread':
    await spread(first, Number(second), third);
    break;
  case 'load':
    await load(first, Number(second));
    break;
  case 'hold':
    hold(first, Number(second));
    break;
  case 'certificate':
    showCertificate(first, Number(second));
    break;
  default:
    fail(`unknown verb ${verb ?? ''}`);
}

function getOnce(url: string): void {
  const asked = get(url, { agent: false, timeout: TIMEOUT_MS }, (answer) => {
    text(answer).then((body) => {
      process.stdout.write(body);
      process.exitCode = answer.statusCode === 200 ? 0 : 1;
    }, fail);
  });
  asked.on('timeout', () => asked.destroy(new Error('no answer')));
  asked.on('error', fail);
}

/** One request, without a body; rejects when there is no whole answer. */
function ask(
  url: string,
  agent: Agent,
  headers: OutgoingHttpHeaders = {},
): Promise<Readonly<{ status: number; body: string }>> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { agent, headers, timeout: TIMEOUT_MS }, (answer) => {
      text(answer).then((body) => {
        resolve({ status: answer.statusCode ?? 0, body });
      }, reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
  });
}

type Tally = Map<string, number>;

function count(tally: Tally, what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1);
}

function print(tally: Tally): void {
  for (const [what, times] of tally) process.stdout.write(`${times} ${what}\n`);
}

async function spread(url: string, requests: number, header: string): Promise<void> {
  const agent = new Agent({ keepAlive: true });
  const colon = header.indexOf(':');
  const headers = colon < 0 ? {} : { [header.slice(0, colon)]: header.slice(colon + 1) };
  const tally: Tally = new Map();
  for (let done = 0; done < requests; done++) {
    const { status, body } = await ask(url, agent, headers);
    count(tally, `${status} ${/^served-by: (\S+)$/m.exec(body)?.[1] ?? '-'}`);
  }
  agent.destroy();
  print(tally);
}

async function load(url: string, seconds: number): Promise<void> {
  const tally: Tally = new Map();
  const untilMs = performance.now() + seconds * 1000;
  const call = async (): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const answered = async (): Promise<string> => String((await ask(url, agent)).status);
    while (performance.now() < untilMs) {
      try {
        count(tally, await answered());
      } catch {
        count(tally, 'broken');
        count(tally, `again ${await answered()}`);
      }
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  print(tally);
}

function hold(host: string, port: number): void {
  const socket = connect({ host, port });
  socket.pipe(process.stdout);
  process.stdin.pipe(socket);
  socket.on('error', fail);
  // The server ended it; its end is not the input's end, so say so.
  socket.on('end', () => {
    fail('ended by the other side');
  });
}

function showCertificate(host: string, port: number): void {
  // Whoever asks needs no certificate to be shown the server's: in TLS 1.3 the server proves itself first.
  const socket = connectTls({
    ...{ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'], timeout: TIMEOUT_MS },
    checkServerIdentity: () => undefined,
  });
  socket.on('secureConnect', () => {
    const { serialNumber, subjectaltname } = socket.getPeerCertificate();
    process.stdout.write(`${serialNumber.toLowerCase()} ${subjectaltname ?? ''}\n`);
    process.exit(0); // before the server's refusal of a client without a certificate arrives
  });
  socket.on('timeout', () => socket.destroy(new Error('no answer')));
  socket.on('error', fail);
}

function fail(error: unknown): void {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  process.stderr.write(`${code || (error instanceof Error ? error.message : String(error))}\n`);
  process.exit(1);
}
