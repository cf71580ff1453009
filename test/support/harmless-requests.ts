import { Agent, get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

/** Between two requests: what others do to the server is looked at all the time, and the machine is not kept busy. */
const PAUSE_MS = 3;

/** A client of HTTP/1.1 that means no harm and asks again and again, on one connection as long as it is there. */
export class HarmlessRequests {
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #done: Promise<void>;
  #over = false;
  answered = 0;
  longestMs = 0;
  /** What else than the answer came. */
  readonly failures: string[] = [];

  constructor(port: number) {
    this.#port = port;
    this.#done = this.#run();
  }

  /** Ends after the request that is on its way. */
  async stop(): Promise<this> {
    this.#over = true;
    await this.#done;
    this.#agent.destroy();
    return this;
  }

  async #run(): Promise<void> {
    do {
      const beganMs = performance.now();
      const found = await this.#ask();
      if (found === '200 ok') this.answered++;
      else this.failures.push(found);
      this.longestMs = Math.max(this.longestMs, performance.now() - beganMs);
      await pause(PAUSE_MS);
    } while (!this.#over);
  }

  #ask(): Promise<string> {
    return new Promise((resolve) => {
      const options = {
        host: '127.0.0.1',
        port: this.#port,
        agent: this.#agent,
        path: '/harmless',
      };
      get(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => {
          resolve(`${response.statusCode ?? 0} ${text}`);
        });
        response.on('error', (error) => {
          resolve(error.message);
        });
      }).on('error', (error) => {
        resolve(error.message);
      });
    });
  }
}
