import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import type { ExecutionContext } from 'ava';
import { TemporaryFolder } from './temporary-folder.ts';
import { closedPort } from './waypoint-requests.ts';

/** A Redis of the test's own, with nothing on disk; gone with the test, whatever state it is in. */
export class RedisServer {
  readonly port: number;
  readonly url: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = folder;
  }

  static async start(t: ExecutionContext): Promise<RedisServer> {
    const folder = new TemporaryFolder();
    const server = new RedisServer(await closedPort(), folder.path);
    t.teardown(async () => {
      await server.kill();
      folder[Symbol.dispose]();
    });
    await server.run();
    return server;
  }

  /** Starts it, empty, and waits until it can be dialled. */
  async run(): Promise<void> {
    const where = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder];
    // It must not outlive a test that was ended from outside, not even a stopped one.
    const child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', 'redis-server', ...where, '--save', '', '--appendonly', 'no'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    this.#child = child;
    const lines = createInterface({ input: child.stdout });
    for await (const line of lines) if (line.includes('Ready to accept connections')) break;
    child.stdout.resume();
    if (child.exitCode !== null) throw new Error(`redis-server has ended: ${child.exitCode}`);
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal);
  }

  /** As a crash would end it. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

/** What a way to Redis does with what Redis says. */
export type Tampering = Readonly<
  | { kind: 'nothing' }
  | { kind: 'late'; delayMs: number }
  /** Of each answer its first half comes. */
  | { kind: 'half' }
  /** Something else is said to each question, and Redis never hears of it. */
  | { kind: 'instead'; answer: string }
>;

/** A way to a real Redis on which its answers can be tampered with. */
export class TamperedRedis {
  readonly url: string;
  tampering: Tampering = { kind: 'nothing' };
  readonly #sockets = new Set<net.Socket>();

  private constructor(port: number) {
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async listen(t: ExecutionContext, redis: RedisServer): Promise<TamperedRedis> {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const tampered = new TamperedRedis((server.address() as net.AddressInfo).port);
    server.on('connection', (client: net.Socket) => {
      tampered.#join(client, net.connect(redis.port, '127.0.0.1'));
    });
    t.teardown(() => {
      tampered.cut();
      server.close();
    });
    return tampered;
  }

  /** Ends every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client: net.Socket, redis: net.Socket): void {
    for (const [socket, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on('data', (question: Buffer) => {
      if (this.tampering.kind === 'instead') client.write(this.tampering.answer);
      else redis.write(question);
    });
    redis.on('data', (answer: Buffer) => {
      const { tampering } = this;
      if (tampering.kind === 'late')
        setTimeout(() => {
          if (!client.destroyed) client.write(answer);
        }, tampering.delayMs).unref();
      else
        client.write(
          tampering.kind === 'half' ? answer.subarray(0, Math.ceil(answer.length / 2)) : answer,
        );
    });
  }
}
