import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { serveH2 } from '../../support/h2-peer.ts';
import { Collector } from '../../support/collect.ts';

const run = promisify(execFile);

/** Runs a program that the machine must have. */
async function program(
  t: ExecutionContext,
  packageName: string,
  command: string,
  args: readonly string[],
): Promise<string> {
  try {
    const { stdout } = await run(command, args, { maxBuffer: 64 << 20, encoding: 'latin1' });
    return stdout;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return t.fail(`${command} is missing: apt-get install -y ${packageName}`);
    throw error;
  }
}

/** Answers with as many bytes as the path says. */
function answer(stream: Http2Stream, headers: readonly string[]): void {
  const path = headers[headers.indexOf(':path') + 1] ?? '';
  stream.respond([':status', '200', 'content-type', 'text/plain']);
  const collector = new Collector(stream);
  void collector.write(Buffer.alloc(Number(path.slice(1)), 'x')).then(() => {
    stream.end();
  });
}

test('curl gets a body of 3 MiB, and sends one', async (t) => {
  const server = serveH2(t, answer);
  const url = `http://127.0.0.1:${server.port}/${3 << 20}`;
  const curl = ['-sS', '--http2-prior-knowledge', '-m', '20'];
  t.is((await program(t, 'curl', 'curl', [...curl, url])).length, 3 << 20);
  const status = ['-o', '/dev/null', '-w', '%{http_version} %{http_code} %{size_upload}'];
  const upload = ['--data-binary', `@${process.execPath}`, '-H', 'expect:'];
  const said = await program(t, 'curl', 'curl', [...curl, ...status, ...upload, url]);
  t.regex(said, /^2 200 \d{8,}$/);
});

test('h2load gets every one of 20,000 answers', async (t) => {
  const server = serveH2(t, answer);
  const url = `http://127.0.0.1:${server.port}/100`;
  const args = ['-n', '20000', '-c', '4', '-m', '50', url];
  const report = await program(t, 'nghttp2-client', 'h2load', args);
  t.regex(report, /20000 succeeded, 0 failed, 0 errored/);
  await server.untilClosed(4);
  t.deepEqual(
    server.connections.map((connection) => connection.activeStreams),
    [0, 0, 0, 0],
  );
});
