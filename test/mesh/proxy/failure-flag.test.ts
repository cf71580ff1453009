import test from 'ava';
import { MeshError } from '../../../base/errors.ts';
import { TunnelRefusedError } from '../../../mesh/hbone/client.ts';
import type { FailureFlag } from '../../../mesh/proxy/connection-metrics.ts';
import { RefusedError } from '../../../mesh/proxy/refused-error.ts';
import { failureFlag } from '../../../mesh/proxy/failure-flag.ts';

const flags = test.macro({
  exec(t, error: unknown, expected: FailureFlag) {
    t.is(failureFlag(error), expected);
  },
  title: (given = '') => `failureFlag() of ${given}`,
});
const coded = (code: string): MeshError => new MeshError(code, 'upstream', 'found');

test('a refusal by policy here', flags, new RefusedError(401, 'denied'), 'DENY');
test('a refusal by policy there', flags, new TunnelRefusedError(401), 'DENY');
test('a change of policy', flags, coded('ERR_POLICY'), 'DENY');
test('a request for another pod', flags, new RefusedError(400, 'ip mismatch'), 'CONNECT');
test('an application that is away', flags, new TunnelRefusedError(503), 'CONNECT');
test('a handshake that failed', flags, coded('ERR_TLS_HANDSHAKE'), 'TLS_FAILURE');
test('a handshake that took too long', flags, coded('ERR_TLS_TIMEOUT'), 'TLS_FAILURE');
test('HTTP/2 that broke', flags, coded('ERR_HTTP2_CONNECTION'), 'H2_HANDSHAKE_FAILURE');
test('a blocked port', flags, coded('ERR_NETWORK_POLICY'), 'NETWORK_POLICY');
test('somebody else', flags, coded('ERR_PEER_IDENTITY'), 'IDENTITY_ERROR');
test('no certificate', flags, coded('ERR_CERTIFICATE_UNAVAILABLE'), 'IDENTITY_ERROR');
test('a revoked certificate', flags, coded('ERR_CERT_REVOKED'), 'CERT_REVOKED');
test('a refused connection', flags, coded('ERR_CONNECT'), 'CONNECT');
test('a drain', flags, coded('ERR_DRAIN'), 'CONNECT');
test('anything else', flags, 'not an error', 'CONNECT');
