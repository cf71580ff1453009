import { parseIpAddress } from '../../base/address.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { ECHO_PORT, SINK_PORT, SOURCE_PORT } from './protocol.ts';
import { Drain, Echo, Source } from './sinks.ts';

/*
 * The server behind all benchmarks of connections, on the engine so that it costs little: server-program.ts
 * Says "ready" when it listens, and ends with its standard input.
 */

const ip = parseIpAddress('::');

const serve = (port: number, onAccept: (stream: TcpStream) => void): void => {
  listenTcp({ address: { ip, port } }, onAccept);
};
serve(ECHO_PORT, (stream) => new Echo(stream));
serve(SOURCE_PORT, (stream) => new Source(stream));
serve(SINK_PORT, (stream) => new Drain(stream));
process.stdin.on('end', () => process.exit(0)).resume();
console.log('ready');
