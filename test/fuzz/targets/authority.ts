import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { isIP } from 'node:net';
import { formatAuthority, parseAuthority } from '../../../mesh/hbone/authority.ts';
import { unlessRefused, type Target } from '../oracle.ts';

/** An authority is what a URL would hold, written in one way only. */
export const target: Target = {
  maxBytes: 1024,
  check(input) {
    const text = input.toString('latin1');
    const authority = unlessRefused(['ERR_AUTHORITY'], () => parseAuthority(text));
    if (authority === undefined) return;
    const formatted = formatAuthority(authority);
    deepStrictEqual(parseAuthority(formatted), authority);
    const port = authority.kind === 'address' ? authority.address.port : authority.port;
    ok(Number.isInteger(port) && port >= 1 && port <= 65_535 && text.endsWith(`:${port}`));
    // A scheme without a default port and without a host syntax of its own would keep everything as it is.
    const url = new URL(`http://${text}`);
    strictEqual(url.username + url.password + url.search + url.hash, '');
    strictEqual(url.pathname, '/');
    if (authority.kind === 'hostname') {
      strictEqual(url.hostname, authority.hostname, 'another host than a URL has');
      strictEqual(isIP(url.hostname), 0, 'a name that a URL takes for an address');
    } else ok(isIP(authority.address.ip) > 0);
  },
};
