import { parseIpAddress } from '../../../base/address.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { Collector } from '../../support/collect.ts';

/* Accepts connections, tells its port, and answers the first bytes of each; for a test that ends it by force. */

const listener = listenTcp({ address: { ip: parseIpAddress('127.0.0.1'), port: 0 } }, (stream) => {
  const collector = new Collector(stream);
  void collector.until((c) => c.received > 0).then(() => collector.write('half of an answer'));
});
process.stdout.write(`${listener.local.port}\n`);
