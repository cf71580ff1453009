import { status, type Metadata } from '@grpc/grpc-js';
import { MeshError, describeError } from '../../base/errors.ts';
import { checkRequestedNames, parseCsr } from '../../certs/csr.ts';
import { chooseTtlMs } from '../../certs/issue.ts';
import {
  IstioCertificateServiceService,
  type IstioCertificateRequest,
  type IstioCertificateServiceServer,
} from '../../mesh/proto/gen/ca.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { Caller, TokenAuthenticator } from './authenticate.ts';
import type { CertificateAuthority } from './authority.ts';
import { authorizeRequest, type PodDirectory, type RequestRules } from './authorize-request.ts';

/** Names as istio/istio has them, so that dashboards fit. */
export type CaCounter =
  | 'citadel_server_csr_count'
  | 'citadel_server_authentication_failure_count'
  | 'citadel_server_csr_parsing_err_count'
  | 'citadel_server_csr_sign_err_count'
  | 'citadel_server_success_cert_issuance_count';

/** What became of one request, for the log. The reason of a refusal is told here and nowhere else. */
export type CaOutcome = Readonly<{
  /** The peer's address, as gRPC has it. */
  peer: string;
  caller?: Caller;
}> &
  Readonly<
    { kind: 'issued'; identity: SpiffeId; ttlMs: number } | { kind: 'refused'; reason: string }
  >;

export type CertificateServiceParts = Readonly<{
  authority: CertificateAuthority;
  authenticator: TokenAuthenticator;
  /** The picture of the mesh to decide on, asked for at each request. */
  pods: () => PodDirectory;
  /** Brings the picture up to what was written until now: a new pod's proxy may ask before its object has been read. */
  catchUp?: () => Promise<unknown>;
  rules: RequestRules;
  ttl: Readonly<{ defaultTtlMs: number; maxTtlMs: number }>;
  count: (counter: CaCounter) => void;
  log: (outcome: CaOutcome) => void;
}>;

export type CertificateService = Readonly<{
  definition: typeof IstioCertificateServiceService;
  implementation: IstioCertificateServiceServer;
}>;

/** What the caller is told. It tells neither which identities exist nor where pods are. */
type Refusal = Readonly<{ code: status; details: string; counter: CaCounter | undefined }>;

const UNAUTHENTICATED: Refusal = {
  code: status.UNAUTHENTICATED,
  details: 'request authenticate failure',
  counter: 'citadel_server_authentication_failure_count',
};
const NOT_IMPERSONATED: Refusal = {
  code: status.UNAUTHENTICATED,
  details: 'request impersonation authentication failure',
  counter: undefined,
};
const BAD_REQUEST: Refusal = {
  code: status.INVALID_ARGUMENT,
  details: 'certificate request failure',
  counter: 'citadel_server_csr_parsing_err_count',
};
const NOT_SIGNED: Refusal = {
  code: status.INTERNAL,
  details: 'certificate signing failure',
  counter: 'citadel_server_csr_sign_err_count',
};

/** The service `istio.v1.auth.IstioCertificateService`, to be mounted on a gRPC server that speaks TLS. */
export function certificateService(parts: CertificateServiceParts): CertificateService {
  return {
    definition: IstioCertificateServiceService,
    implementation: {
      createCertificate(call, callback) {
        void answer(parts, call.request, call.metadata, call.getPeer()).then((result) => {
          if (Array.isArray(result)) callback(null, { certChain: result });
          else callback({ code: result.code, details: result.details });
        });
      },
    },
  };
}

/** One request, from the token to the chain. Never rejects: a refusal is a value, and is logged here. */
async function answer(
  parts: CertificateServiceParts,
  request: IstioCertificateRequest,
  metadata: Metadata,
  peer: string,
): Promise<string[] | Refusal> {
  const { count, log } = parts;
  count('citadel_server_csr_count');
  let caller: Caller | undefined;
  let refusal = UNAUTHENTICATED;
  try {
    const authorization = metadata.get('authorization').map(String);
    caller = await parts.authenticator.authenticate(authorization);
    const impersonated = readImpersonated(request);
    let decision = authorizeRequest(caller, impersonated, parts.pods(), parts.rules);
    if (decision.kind === 'deny' && decision.unknownPod && parts.catchUp !== undefined) {
      await parts.catchUp();
      decision = authorizeRequest(caller, impersonated, parts.pods(), parts.rules);
    }
    if (decision.kind === 'deny') {
      refusal = decision.impersonation ? NOT_IMPERSONATED : UNAUTHENTICATED;
      throw new MeshError('ERR_CA_DENIED', 'downstream', decision.reason);
    }
    const { identity } = decision;
    refusal = BAD_REQUEST;
    const csr = parseCsr(request.csr);
    checkRequestedNames(csr, identity);
    const ttlMs = chooseTtlMs(request.validityDuration, parts.ttl);
    refusal = NOT_SIGNED;
    const chain = parts.authority.issue(identity, csr.publicKey, ttlMs);
    count('citadel_server_success_cert_issuance_count');
    log({ kind: 'issued', peer, caller, identity, ttlMs });
    return chain;
  } catch (error) {
    if (refusal.counter !== undefined) count(refusal.counter);
    const known = caller === undefined ? {} : { caller };
    log({ kind: 'refused', peer, ...known, reason: describeError(error) });
    return refusal;
  }
}

/** Metadata is a Struct: any JSON. A key of another shape is refused, or it would be taken for "no impersonation". */
function readImpersonated(request: IstioCertificateRequest): string | undefined {
  const metadata: Record<string, unknown> = request.metadata ?? {};
  if (Object.hasOwn(metadata, 'CertSigner'))
    throw new MeshError('ERR_CA_DENIED', 'downstream', 'Cannot sign with an external CertSigner');
  if (!Object.hasOwn(metadata, 'ImpersonatedIdentity')) return undefined;
  const value = metadata['ImpersonatedIdentity'];
  if (typeof value === 'string') return value;
  throw new MeshError('ERR_CA_DENIED', 'downstream', 'Cannot read ImpersonatedIdentity: no text');
}
