import { parseSocketAddress } from '../../base/address.ts';
import { HttpForwarder } from '../../test/support/http-forwarder.ts';

/* proxy-program.ts (LISTEN TO VERSION)...: reverse proxies on the engine's HTTP, until it is told to end. */

const asked = process.argv.slice(2);
const forwarders: HttpForwarder[] = [];
for (let at = 0; at < asked.length; at += 3) {
  const [listen = '', to = '', version] = asked.slice(at, at + 3);
  forwarders.push(
    new HttpForwarder({
      ...{ listen: parseSocketAddress(listen), to: parseSocketAddress(to) },
      upstream: version === 'http2' ? 'http2' : 'http1',
    }),
  );
}
process.on('SIGTERM', () => {
  for (const forwarder of forwarders) forwarder.close();
  process.exit(0);
});
