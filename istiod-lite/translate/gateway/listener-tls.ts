import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import { GATEWAY_GROUP } from '../../../mesh/kubernetes/route-references.ts';
import type {
  ClientValidation,
  ListenerCertificate,
  ListenerTls,
} from '../../../mesh/model/gateway-listener.ts';
import type { Picture } from '../../snapshot.ts';
import { keyPairOf, rootsOf } from '../credentials.ts';
import type { ListenerFlaw, ListenerSpec } from './listener-spec.ts';
import { mayRefer } from './reference-grants.ts';

/** What TLS a listener speaks: none, the client's own with the backend, or ours. */
export type ListenerTlsOutcome = Readonly<{
  tls?: ListenerTls;
  passthrough?: true;
  /** Why the listener is not accepted. */
  unacceptable?: ListenerFlaw;
  /** What it refers to and cannot have. */
  unresolved?: ListenerFlaw;
  /** It has to speak TLS and cannot: it is not served. */
  blocked?: true;
}>;

type Reference = NonNullable<ListenerSpec['tls']>['certificateRefs'][number];
type Validation = NonNullable<
  NonNullable<NonNullable<Gateway['spec']['tls']>['frontend']>['default']['validation']
>;

/** What a listener's protocol, its own settings and the Gateway's mean for TLS. */
export function listenerTls(
  picture: Picture,
  gateway: Gateway,
  { protocol, port, tls: written }: ListenerSpec,
): ListenerTlsOutcome {
  if (protocol !== 'HTTPS' && protocol !== 'TLS') return {};
  if (written?.mode === 'Passthrough') {
    if (protocol === 'TLS') return { passthrough: true };
    const message = 'HTTPS ends at its listener: Passthrough is of protocol TLS';
    return { blocked: true, unacceptable: { reason: 'UnsupportedValue', message } };
  }
  const { certificates, unresolved } = certificatesOf(picture, gateway, written?.certificateRefs);
  const clients = clientsOf(picture, gateway, port);
  const flaw = unresolved ?? clients.unresolved;
  const flaws = {
    ...(flaw && { unresolved: flaw }),
    ...(clients.unacceptable && { unacceptable: clients.unacceptable }),
  };
  if (certificates.length === 0 || clients.unacceptable !== undefined)
    return { ...flaws, blocked: true };
  return {
    ...flaws,
    tls: { certificates, ...(clients.validation && { clients: clients.validation }) },
  };
}

function certificatesOf(
  picture: Picture,
  { ref: { namespace } }: Gateway,
  refs: readonly Reference[] = [],
): Readonly<{ certificates: ListenerCertificate[]; unresolved?: ListenerFlaw }> {
  const certificates: ListenerCertificate[] = [];
  let unresolved: ListenerFlaw | undefined;
  for (const ref of refs) {
    const found = findCertificate(picture, namespace, ref);
    if ('reason' in found) unresolved ??= found;
    else certificates.push(found);
  }
  if (refs.length === 0)
    unresolved = { reason: 'InvalidCertificateRef', message: 'tls.certificateRefs names none' };
  return { certificates, ...(unresolved && { unresolved }) };
}

function findCertificate(
  picture: Picture,
  gatewayNamespace: string,
  { group, kind, name, namespace }: Reference,
): ListenerCertificate | ListenerFlaw {
  const reason = 'InvalidCertificateRef';
  if (group !== '' || kind !== 'Secret')
    return { reason, message: `${group === '' ? kind : `${group}/${kind}`} is no Secret` };
  const where = namespace || gatewayNamespace;
  const refused = refusal(picture, gatewayNamespace, { group, kind, name, namespace: where });
  if (refused !== undefined) return refused;
  const secret = picture.get('Secret', where, name);
  if (secret === undefined) return { reason, message: `Secret ${where}/${name} does not exist` };
  const pair = keyPairOf(secret);
  return 'problem' in pair ? { reason, message: pair.problem } : pair;
}

function refusal(
  picture: Picture,
  gatewayNamespace: string,
  to: Readonly<{ group: string; kind: string; name: string; namespace: string }>,
): ListenerFlaw | undefined {
  const from = { group: GATEWAY_GROUP, kind: 'Gateway', namespace: gatewayNamespace };
  if (mayRefer(picture, from, to)) return undefined;
  const message = `no ReferenceGrant of ${to.namespace} lets Gateways of ${gatewayNamespace} refer to ${to.kind} ${to.name}`;
  return { reason: 'RefNotPermitted', message };
}

/** Of the port, else of all ports. */
function clientsOf(
  picture: Picture,
  { spec, ref }: Gateway,
  port: number,
): Readonly<{
  validation?: ClientValidation;
  unresolved?: ListenerFlaw;
  unacceptable?: ListenerFlaw;
}> {
  const { frontend } = spec.tls ?? {};
  const ofPort = frontend?.perPort.find((each) => each.port === port);
  const written = (ofPort === undefined ? frontend?.default : ofPort.tls)?.validation;
  if (written === undefined) return {};
  const roots: string[] = [];
  let unresolved: ListenerFlaw | undefined;
  for (const each of written.caCertificateRefs) {
    const found = findRoots(picture, ref.namespace, each);
    if (typeof found === 'string') roots.push(found);
    else unresolved ??= found;
  }
  if (roots.length > 0)
    return {
      validation: { rootsPem: roots.join('\n'), accepts: acceptsOf(written) },
      ...(unresolved && { unresolved }),
    };
  const message = unresolved?.message ?? 'no certificate of an authority is named';
  return {
    ...(unresolved && { unresolved }),
    unacceptable: { reason: 'NoValidCACertificate', message },
  };
}

function acceptsOf({ mode }: Validation): ClientValidation['accepts'] {
  return mode === 'AllowInsecureFallback' ? 'any' : 'valid';
}

function findRoots(
  picture: Picture,
  gatewayNamespace: string,
  { group, kind, name, namespace }: Reference,
): string | ListenerFlaw {
  if (group !== '' || (kind !== 'ConfigMap' && kind !== 'Secret')) {
    const found = group === '' ? kind : `${group}/${kind}`;
    return {
      reason: 'InvalidCACertificateKind',
      message: `${found} holds no certificates of authorities`,
    };
  }
  const where = namespace || gatewayNamespace;
  const refused = refusal(picture, gatewayNamespace, { group, kind, name, namespace: where });
  if (refused !== undefined) return refused;
  const reason = 'InvalidCACertificateRef';
  const object = picture.get(kind, where, name);
  if (object === undefined) return { reason, message: `${kind} ${where}/${name} does not exist` };
  const roots = rootsOf(object);
  return 'problem' in roots ? { reason, message: roots.problem } : roots.rootsPem;
}

/** Whether any client is let in where certificates are checked: whoever reads the Gateway's status has to see that. */
export function acceptsAnyClient({ spec }: Gateway): boolean {
  const { frontend } = spec.tls ?? {};
  const all = [frontend?.default, ...(frontend?.perPort ?? []).map(({ tls }) => tls)];
  return all.some((each) => each?.validation?.mode === 'AllowInsecureFallback');
}
