import { match, strictEqual } from 'node:assert';
import { socketAddress } from '../../../base/address.ts';
import {
  makeForwarded,
  parseForwardedHost,
  parseTraceparent,
  traceIdOf,
} from '../../../mesh/hbone/headers.ts';
import type { Target } from '../oracle.ts';

const SOURCE = socketAddress('10.0.0.1', 40_000);

/** No header makes it throw; a host is harmless in a log, and written again it is read again; so is a trace id. */
export const target: Target = {
  maxBytes: 16 << 10,
  check(input) {
    const header = input.toString('latin1');
    const host = parseForwardedHost(header);
    if (host !== undefined) {
      match(host, /^[a-z0-9.:-]{1,259}$/);
      strictEqual(parseForwardedHost(makeForwarded(SOURCE, host)), host);
    }
    const trace = parseTraceparent(header);
    if (trace !== undefined) {
      strictEqual(trace, header);
      match(traceIdOf(trace), /^(?!0{32})[0-9a-f]{32}$/);
    }
  },
};
