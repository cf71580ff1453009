import { decodeAuthorization } from '../../xds/codec-policy.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, decodeAddress } from '../../xds/codec.ts';
import type { PendingResource, StateDelta } from './apply.ts';

/** A delta of raw resources, each decoded only when its turn comes; `undefined` for a type that is not of the state. */
export function deltaOf(
  typeUrl: string,
  resources: readonly Readonly<{ name: string; bytes: Uint8Array }>[],
  removed: readonly string[],
): StateDelta | undefined {
  switch (typeUrl) {
    case ADDRESS_TYPE:
      return { type: 'address', resources: resources.map(pendingAddress), removed };
    case AUTHORIZATION_TYPE:
      return { type: 'policy', resources: resources.map(pendingPolicy), removed };
    default:
      return undefined;
  }
}

function pendingAddress({ name, bytes }: { name: string; bytes: Uint8Array }): PendingResource {
  return { name, decode: () => decodeAddress(bytes) };
}

function pendingPolicy({ name, bytes }: { name: string; bytes: Uint8Array }): PendingResource {
  return { name, decode: () => ({ kind: 'policy', policy: decodeAuthorization(bytes) }) };
}
