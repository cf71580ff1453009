import { strictEqual } from 'node:assert';
import {
  identityParts,
  makeSpiffeId,
  parseSpiffeId,
  parseTrustDomain,
  principalOf,
} from '../../../mesh/model/identity.ts';
import { unlessRefused, type Target } from '../oracle.ts';

/** An identity is a URL of its own canonical form, and is what its parts make. */
export const target: Target = {
  maxBytes: 4096,
  check(input) {
    const text = input.toString('utf8');
    const domain = unlessRefused(['ERR_SPIFFE_ID'], () => parseTrustDomain(text));
    if (domain !== undefined) strictEqual(new URL(`spiffe://${domain}/`).host, text);
    const id = unlessRefused(['ERR_SPIFFE_ID'], () => parseSpiffeId(text));
    if (id === undefined) return;
    const parts = identityParts(id);
    strictEqual(makeSpiffeId(parts), id);
    strictEqual(`spiffe://${principalOf(id)}`, text);
    const url = new URL(text);
    strictEqual(url.href, text, 'a URL that is not in its canonical form');
    strictEqual(url.host, parts.trustDomain);
    strictEqual(url.port + url.username + url.password + url.search + url.hash, '');
    strictEqual(url.pathname, `/ns/${parts.namespace}/sa/${parts.serviceAccount}`);
  },
};
