import { parseSocketAddress } from '../../base/address.ts';
import { HttpForwarder } from '../../test/support/http-forwarder.ts';

/* proxy-program.ts LISTEN TO: a reverse proxy on the engine's HTTP, until it is told to end. */

const [listen = '', to = ''] = process.argv.slice(2);
const forwarder = new HttpForwarder({
  listen: parseSocketAddress(listen),
  to: parseSocketAddress(to),
});
process.on('SIGTERM', () => {
  forwarder.close();
  process.exit(0);
});
