import { existsSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { IstioCertificateServiceService } from '../../mesh/proto/gen/ca.ts';
import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryResponse,
} from '../../mesh/proto/gen/discovery.ts';
import { HOLD_FILE, READY_FILE, type LateXdsTask } from './late-xds-task.ts';

/*
 * Stands between a proxy and its control plane, and passes everything on as it is; while the file HOLD_FILE is in the
 * task's folder, it keeps policies back: late-xds-program.ts TASK
 */

const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization';
const bytes = (value: Buffer): Buffer => value;

const task = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as LateXdsTask;
const roots = Buffer.from(task.rootsPem);
const upstream = new Client(task.upstream, credentials.createSsl(roots), {
  'grpc.ssl_target_name_override': task.serverName,
});

const stream = {
  ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
  ...{ requestSerialize: bytes, requestDeserialize: bytes },
  ...{ responseSerialize: bytes, responseDeserialize: bytes },
};
const sign = {
  ...IstioCertificateServiceService.createCertificate,
  ...{ requestSerialize: bytes, requestDeserialize: bytes },
  ...{ responseSerialize: bytes, responseDeserialize: bytes },
};

/** What is kept back, in order. */
const held: (() => void)[] = [];
const holdFile = join(task.folder, HOLD_FILE);
watch(task.folder, () => {
  if (existsSync(holdFile)) return;
  for (const send of held.splice(0)) send();
});

/** Who asks, and for which cluster; the rest is the channel's own. */
function metadataOf(from: Metadata): Metadata {
  const to = new Metadata();
  for (const key of ['authorization', 'clusterid'])
    for (const value of from.get(key)) to.add(key, value);
  return to;
}

const server = new Server({ 'grpc.max_receive_message_length': -1 });
server.addService(
  { stream, sign },
  {
    stream(down: ServerDuplexStream<Buffer, Buffer>) {
      const up = upstream.makeBidiStreamRequest(
        ...([stream.path, bytes, bytes, metadataOf(down.metadata)] as const),
      );
      up.on('error', () => {
        down.end();
      });
      up.on('end', () => {
        down.end();
      });
      down.on('error', () => undefined);
      down.on('cancelled', () => {
        up.cancel();
      });
      down.on('end', () => {
        up.end();
      });
      down.on('data', (request: Buffer) => up.write(request));
      up.on('data', (response: Buffer) => {
        const { typeUrl } = DeltaDiscoveryResponse.decode(response);
        if (typeUrl === AUTHORIZATION_TYPE && existsSync(holdFile))
          held.push(() => down.write(response));
        else down.write(response);
      });
    },
    sign(call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
      upstream.makeUnaryRequest(
        ...([sign.path, bytes, bytes, call.request, metadataOf(call.metadata)] as const),
        answer,
      );
    },
  },
);
const pair = {
  private_key: Buffer.from(task.certificate.privateKeyPem),
  cert_chain: Buffer.from(task.certificate.chainPem.join('')),
};
server.bindAsync(task.listen, ServerCredentials.createSsl(null, [pair]), (error) => {
  if (error !== null) throw error;
  writeFileSync(join(task.folder, READY_FILE), '');
});
