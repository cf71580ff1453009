import type { Target } from './oracle.ts';
import { target as authority } from './targets/authority.ts';
import { target as baggage } from './targets/baggage.ts';
import { target as certificate } from './targets/certificate.ts';
import { target as clientHello } from './targets/client-hello.ts';
import { target as crl } from './targets/crl.ts';
import { target as csr } from './targets/csr.ts';
import { target as dns } from './targets/dns.ts';
import { target as forwarded } from './targets/forwarded.ts';
import { target as frames } from './targets/frames.ts';
import { target as hpack } from './targets/hpack.ts';
import { target as http1Chunked } from './targets/http1-chunked.ts';
import { target as http1Request } from './targets/http1-request.ts';
import { target as http1Response } from './targets/http1-response.ts';
import { target as regex } from './targets/regex.ts';
import { target as routeRequests } from './targets/route-requests.ts';
import { target as routes } from './targets/routes.ts';
import { target as path } from './targets/path.ts';
import { target as spiffe } from './targets/spiffe.ts';
import { target as xds } from './targets/xds.ts';
import { target as yaml } from './targets/yaml.ts';
import { target as zds } from './targets/zds.ts';

/** Every parser that reads what others wrote. */
export const TARGETS: ReadonlyMap<string, Target> = new Map(
  Object.entries({
    ...{ frames, hpack, authority, baggage, forwarded, spiffe, path },
    ...{ 'http1-request': http1Request, 'http1-response': http1Response },
    'http1-chunked': http1Chunked,
    ...{ regex, routes, 'route-requests': routeRequests },
    'client-hello': clientHello,
    ...{ certificate, csr, crl, dns, yaml, xds, zds },
  }),
);
