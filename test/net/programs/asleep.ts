import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { parseIpAddress } from '../../../base/address.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';

/*
 * Two threads that sleep in the engine, each with a listener that nobody calls; then the main one ends the other, or
 * itself, or both, as the argument says.
 */

listenTcp({ address: { ip: parseIpAddress('127.0.0.1'), port: 0 } }, () => undefined);
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  worker.on('message', () => {
    switch (process.argv[2]) {
      case 'terminate':
        void worker.terminate().then(() => {
          process.stdout.write('terminated\n');
          process.exit(0);
        });
        return;
      case 'exit':
        process.exit(0);
        return;
      default:
        throw new Error('a fault');
    }
  });
} else {
  // When this thread has slept, and sleeps again.
  setTimeout(() => parentPort?.postMessage('asleep'), 50);
}
