import { MeshError } from '../../base/errors.ts';
import { decodeMessage } from '../proto/decode.ts';
import {
  Version,
  WorkloadRequest,
  WorkloadResponse,
  ZdsHello,
  type WorkloadInfo,
} from '../proto/gen/zds.ts';

/** Both of Istio's ends receive into a buffer of this size, and take a message that fills it for cut off. */
export const MAX_ZDS_MESSAGE_BYTES = 1024;

/** Who a pod is: what its certificate will say. */
export type ZdsPodInfo = Readonly<{ name: string; namespace: string; serviceAccount: string }>;

/** What the node agent asks of the proxy; the namespace's descriptor comes beside `add`. */
export type ZdsRequest = Readonly<
  | { kind: 'add'; uid: string; info: ZdsPodInfo }
  | { kind: 'keep'; uid: string }
  | { kind: 'del'; uid: string }
  | { kind: 'snapshot-sent' }
>;

export function encodeHello(): Uint8Array {
  return ZdsHello.encode({ version: Version.V1 }).finish();
}

/** @throws {MeshError} ERR_PROTO. The version is not looked at, as Istio's ends do not. */
export function decodeHello(bytes: Uint8Array): void {
  decodeMessage(ZdsHello, bytes, 'a ZDS hello', 'downstream');
}

/** @throws {MeshError} ERR_ZDS when it is longer than the peer reads. */
export function encodeRequest(request: ZdsRequest): Uint8Array {
  const bytes = WorkloadRequest.encode({ payload: payloadOf(request) }).finish();
  // The empty message does exist (a request without payload), but none of ours is.
  if (bytes.length < MAX_ZDS_MESSAGE_BYTES) return bytes;
  const found = `${bytes.length} bytes, and the proxy reads less than ${MAX_ZDS_MESSAGE_BYTES}`;
  throw zdsError(`Cannot send a ${request.kind} request: found ${found}`);
}

/** @throws {MeshError} ERR_PROTO for what is no message, ERR_ZDS for one that asks nothing that is known. */
export function decodeRequest(bytes: Uint8Array): ZdsRequest {
  const { payload } = decodeMessage(WorkloadRequest, bytes, 'a ZDS request', 'upstream');
  switch (payload?.$case) {
    case 'add': {
      const { uid, workloadInfo } = payload.value;
      if (workloadInfo === undefined)
        throw zdsError(`Cannot add pod ${uid}: it has no workload info`);
      return { kind: 'add', uid, info: infoOf(workloadInfo) };
    }
    case 'keep':
      return { kind: 'keep', uid: payload.value.uid };
    case 'del':
      return { kind: 'del', uid: payload.value.uid };
    case 'snapshotSent':
      return { kind: 'snapshot-sent' };
    case undefined:
      throw zdsError('Cannot read a ZDS request: found none that is known');
  }
}

/** A character of UTF-16 has at most three bytes of UTF-8, so that 900 of MAX_ZDS_MESSAGE_BYTES are used. */
const MAX_REASON_CHARACTERS = 300;

/** @param error why it was not done; absent when it was. */
export function encodeAck(error?: string): Uint8Array {
  // A long reason would be cut off on the other side, and with it the whole message.
  const text = (error ?? '').slice(0, MAX_REASON_CHARACTERS);
  return WorkloadResponse.encode({ payload: { $case: 'ack', value: { error: text } } }).finish();
}

/**
 * @returns the error that the proxy tells, '' for none.
 * @throws {MeshError} ERR_PROTO, or ERR_ZDS for an answer that is no ack.
 */
export function decodeAck(bytes: Uint8Array): string {
  const { payload } = decodeMessage(WorkloadResponse, bytes, 'a ZDS answer', 'downstream');
  if (payload === undefined) throw zdsError('Cannot read a ZDS answer: found no ack');
  return payload.value.error;
}

export function zdsError(message: string): MeshError {
  return new MeshError('ERR_ZDS', 'local', message);
}

type Payload = NonNullable<WorkloadRequest['payload']>;

function payloadOf(request: ZdsRequest): Payload {
  switch (request.kind) {
    case 'add':
      return { $case: 'add', value: { uid: request.uid, workloadInfo: request.info } };
    case 'keep':
      return { $case: 'keep', value: { uid: request.uid } };
    case 'del':
      return { $case: 'del', value: { uid: request.uid } };
    case 'snapshot-sent':
      return { $case: 'snapshotSent', value: {} };
  }
}

function infoOf(info: WorkloadInfo): ZdsPodInfo {
  const { name, namespace, serviceAccount } = info;
  return { name, namespace, serviceAccount };
}
