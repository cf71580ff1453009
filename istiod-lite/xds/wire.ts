import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { perObject } from '../../base/per-object.ts';
import { contentVersion, encodeLabelledAddress } from '../../mesh/xds/codec.ts';
import { Resource } from '../../mesh/proto/gen/discovery.ts';
import type { MeshResource } from '../translate/mesh-resource.ts';

/** Field numbers of envoy.service.discovery.v3.DeltaDiscoveryResponse. */
const SYSTEM_VERSION_INFO = 1;
const RESOURCES = 2;
const TYPE_URL = 4;
const NONCE = 5;
const REMOVED_RESOURCES = 6;
/** The key of a field whose bytes follow their length. */
const keyOf = (field: number): number => (field << 3) | 2;

export type DeltaResponse = Readonly<{
  revision: number;
  typeUrl: string;
  nonce: string;
  /** Each as a whole field of the response, from frameOf(). */
  frames: readonly Uint8Array[];
  removed: readonly string[];
}>;

/** A resource as a field of a response: serialised once, whoever it goes to. */
export const frameOf = perObject((resource: MeshResource): Uint8Array => encodeFrame(resource, []));

/** The same with the other names by which a client may have asked for it. */
export function frameWithAliases(resource: MeshResource, aliases: readonly string[]): Uint8Array {
  return aliases.length === 0 ? frameOf(resource) : encodeFrame(resource, aliases);
}

const labelledResources = new WeakMap<MeshResource, MeshResource>();

/** A resource as waypoints get it, with the labels of workloads; made when the first of them asks. */
export function labelled(resource: MeshResource): MeshResource {
  const { content, labelsVersion } = resource;
  if (labelsVersion === '' || content.kind !== 'workload') return resource;
  const known = labelledResources.get(resource);
  if (known !== undefined) return known;
  const bytes = encodeLabelledAddress(content);
  const made = { ...resource, bytes, version: contentVersion(bytes) };
  labelledResources.set(resource, made);
  return made;
}

/** The bytes of a whole response, in the order of its field numbers. */
export function encodeResponse(response: DeltaResponse): Buffer {
  const head = new BinaryWriter()
    .uint32(keyOf(SYSTEM_VERSION_INFO))
    .string(String(response.revision))
    .finish();
  const tail = new BinaryWriter().uint32(keyOf(TYPE_URL)).string(response.typeUrl);
  tail.uint32(keyOf(NONCE)).string(response.nonce);
  for (const name of response.removed) tail.uint32(keyOf(REMOVED_RESOURCES)).string(name);
  return Buffer.concat([head, ...response.frames, tail.finish()]);
}

function encodeFrame(resource: MeshResource, aliases: readonly string[]): Uint8Array {
  const { name, version, typeUrl, bytes } = resource;
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const message = { name, version, resource: { typeUrl, value }, aliases: [...aliases] };
  return new BinaryWriter()
    .uint32(keyOf(RESOURCES))
    .bytes(Resource.encode(message).finish())
    .finish();
}
