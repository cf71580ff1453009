import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/*
 * Runs in a pod: `load-program.ts HOST PORT LONG`. Holds LONG connections to an echo server and says something on each
 * ten times a second; opens 20 new ones a second, each with a word there and back. Prints a line of JSON a second, and
 * at the end of its input the last one.
 */
const [host = '', port = '', long = ''] = process.argv.slice(2);
const counts = { opened: 0, rounds: 0 };
const failures: string[] = [];
const stop = new AbortController();

/** Says a word and waits until all of it is back. */
async function say(socket: Socket, word: string): Promise<void> {
  socket.write(word);
  let back = '';
  while (back.length < word.length) {
    const signal = AbortSignal.timeout(5000);
    const [chunk] = (await once(socket, 'data', { signal })) as [Buffer];
    back += chunk.toString();
  }
  if (back !== word) throw new Error(`sent ${word}, got ${back}`);
}

async function open(): Promise<Socket> {
  const socket = connect({ host, port: Number(port) });
  socket.setNoDelay(true);
  await once(socket, 'connect', { signal: AbortSignal.timeout(5000) });
  return socket;
}

function note(what: string, error: unknown): void {
  failures.push(`${new Date().toISOString()} ${what}: ${String(error)}`);
}

async function hold(index: number): Promise<void> {
  try {
    const socket = await open();
    for (let round = 0; !stop.signal.aborted; round++) {
      await say(socket, `long ${index} round ${round}`);
      counts.rounds++;
      await delay(100);
    }
    socket.destroy();
  } catch (error) {
    note(`long ${index}`, error);
  }
}

async function openShort(index: number): Promise<void> {
  try {
    const socket = await open();
    await say(socket, `short ${index}`);
    socket.end();
    counts.opened++;
    socket.on('error', () => undefined).resume();
  } catch (error) {
    note(`short ${index}`, error);
  }
}

function report(): void {
  process.stdout.write(`${JSON.stringify({ ...counts, failures })}\n`);
}

process.stdin.resume().on('end', () => {
  stop.abort();
});
const work = Array.from({ length: Number(long) }, (_, index) => hold(index));
const telling = setInterval(report, 1000);
for (let index = 0; !stop.signal.aborted; index++) {
  work.push(openShort(index));
  await delay(50);
}
clearInterval(telling);
await Promise.all(work);
report();
process.exit(0);
