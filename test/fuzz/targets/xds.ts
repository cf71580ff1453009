import { deepStrictEqual } from 'node:assert';
import { decodeMessage } from '../../../mesh/proto/decode.ts';
import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../../mesh/proto/gen/discovery.ts';
import { decodeAuthorization, encodeAuthorization } from '../../../mesh/xds/codec-policy.ts';
import { decodeAddress, encodeAddress } from '../../../mesh/xds/codec.ts';
import { checkPrototypes, splitChoice, unlessRefused, type Target } from '../oracle.ts';

const REFUSED = ['ERR_PROTO', 'ERR_XDS_RESOURCE'];

/** A resource is used whole or refused; what was read is written and read again, and equal values have equal bytes. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const [choice, bytes] = splitChoice(input);
    if (choice % 4 === 0) checkCodec(bytes, decodeAddress, encodeAddress);
    else if (choice % 4 === 1) checkCodec(bytes, decodeAuthorization, encodeAuthorization);
    else if (choice % 4 === 2)
      unlessRefused(REFUSED, () =>
        decodeMessage(DeltaDiscoveryResponse, bytes, 'an xDS response', 'upstream'),
      );
    else
      unlessRefused(REFUSED, () =>
        decodeMessage(DeltaDiscoveryRequest, bytes, 'an xDS request', 'downstream'),
      );
    checkPrototypes();
  },
};

function checkCodec<T>(
  bytes: Buffer,
  decode: (bytes: Uint8Array) => T,
  encode: (value: T) => Uint8Array,
): void {
  const value = unlessRefused(REFUSED, () => decode(bytes));
  if (value === undefined) return;
  const written = encode(value);
  const again = decode(written);
  deepStrictEqual(again, value);
  deepStrictEqual(encode(again), written);
}
