import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

/*
 * Answers whatever comes with random bytes, over TCP and UDP, and says that it was asked: nonsense-program.ts PORT
 */
const port = Number(process.argv[2]);
const LENGTH_BYTES = 300;

const tcp = createServer((socket) => {
  socket.on('error', () => undefined); // the caller had enough
  socket.on('data', () => {
    console.log('asked');
    socket.write(randomBytes(LENGTH_BYTES));
  });
});
const udp = createSocket('udp6');
udp.on('message', (query, { address, port: from }) => {
  console.log('asked');
  // The identifier is right: the rest has to be refused for what it is.
  udp.send(Buffer.concat([query.subarray(0, 2), randomBytes(LENGTH_BYTES)]), from, address);
});
tcp.listen(port, '::', () => {
  udp.bind(port, '::', () => {
    console.log('ready');
  });
});
