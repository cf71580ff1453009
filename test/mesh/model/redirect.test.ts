import test from 'ava';
import {
  redirectLocation,
  type Redirect,
  type RedirectedRequest,
} from '../../../mesh/model/redirect.ts';

type Change = Omit<Redirect, 'statusCode'>;

const request: RedirectedRequest = {
  ...{ scheme: 'http', hostname: 'echo', port: 80, path: '/a/b', query: undefined },
  authority: 'echo',
};

const location = test.macro<
  [change: Change, expected: string, asked?: Partial<RedirectedRequest>, prefix?: string]
>({
  exec(t, change, expected, asked = {}, prefix = '/') {
    t.is(
      redirectLocation({ statusCode: 302, ...change }, { ...request, ...asked }, prefix),
      expected,
    );
  },
  title: (given = '') => `redirectLocation() ${given}`,
});

test('keeps what the rule does not change', location, {}, 'http://echo/a/b');
test('keeps the query', location, {}, 'http://echo/a/b?x=1&y', { query: 'x=1&y' });
test('keeps a query that is empty', location, {}, 'http://echo/a/b?', { query: '' });
test('keeps the port of the Service', location, {}, 'http://echo:8080/a/b', { port: 8080 });
test('keeps an IPv6 address in brackets', location, {}, 'http://[::1]:1/a/b', {
  ...{ hostname: '[::1]', port: 1 },
});
test('omits 443 with https only', location, { port: 443 }, 'http://echo:443/a/b');
test('omits 80 with http only', location, { scheme: 'https', port: 80 }, 'https://echo:80/a/b');
test('takes the port of the new scheme', location, { scheme: 'http' }, 'http://echo/a/b', {
  ...{ scheme: 'https', port: 8443 },
});

// MeshHTTPRouteRedirectHostAndStatus, MeshHTTPRouteSchemeRedirect, MeshHTTPRouteRedirectPort, MeshHTTPRouteRedirectPath:
// upstream's checker of a mesh looks at the status alone, so that Location is looked at here.
test(
  'MeshHTTPRouteRedirectHostAndStatus: names the other host',
  location,
  { hostname: 'example.org' },
  'http://example.org/hostname-redirect',
  { path: '/hostname-redirect' },
);
test(
  'MeshHTTPRouteSchemeRedirect: names the other scheme',
  location,
  { scheme: 'https' },
  'https://echo/a/b',
);
test(
  'MeshHTTPRouteSchemeRedirect: names scheme and host',
  location,
  { scheme: 'https', hostname: 'example.org' },
  'https://example.org/a/b',
);
test(
  'MeshHTTPRouteRedirectPort: names the other port',
  location,
  { port: 8083 },
  'http://echo:8083/a/b',
);
test(
  'MeshHTTPRouteRedirectPort: names port and host',
  location,
  { port: 8083, hostname: 'example.org' },
  'http://example.org:8083/a/b',
);
test(
  'MeshHTTPRouteRedirectPath: replaces the prefix',
  location,
  { path: { kind: 'prefix', replacement: '/replacement-prefix' } },
  'http://echo/replacement-prefix/lemon',
  { path: '/original-prefix/lemon' },
  '/original-prefix',
);
test(
  'MeshHTTPRouteRedirectPath: replaces the whole path and the host',
  location,
  { hostname: 'example.org', path: { kind: 'full', path: '/full-path-replacement' } },
  'http://example.org/full-path-replacement?q',
  { path: '/full/path/original', query: 'q' },
);

const written: Change = { writtenPort: true };
test(
  'leaves the port of the Service out where the Host header does',
  location,
  written,
  'http://echo/a/b',
  {
    port: 8080,
  },
);
test('keeps the port that the Host header has', location, written, 'http://echo:1/a/b', {
  authority: 'echo:1',
});
test(
  'takes a host name with its port as it is written',
  ...([location, { writtenPort: true, hostname: 'cart:9' }, 'http://cart:9/a/b'] as const),
  { authority: 'echo:1' },
);
test(
  'does not take the port of the old scheme to the new one',
  ...([location, { writtenPort: true, scheme: 'https' }, 'https://echo/a/b'] as const),
  { authority: 'echo:80' },
);
test(
  'takes a written port that is of no scheme to the new one',
  ...([location, { writtenPort: true, scheme: 'https' }, 'https://echo:8080/a/b'] as const),
  { authority: 'echo:8080' },
);
test(
  'a path with a query of its own replaces that of the request',
  ...([location, { path: { kind: 'full', path: '/x?y=1' } }, 'http://echo/x?y=1'] as const),
  { query: 'z=2' },
);
