import { isIP } from 'node:net';
import type { ConfigMap } from '../../mesh/kubernetes/core.ts';
import type { Secret } from '../../mesh/kubernetes/secret.ts';
import type { TrafficGroups } from '../../mesh/kubernetes/traffic-policy.ts';
import type { UpstreamTls } from '../../mesh/model/traffic-policy.ts';
import type { Picture } from '../snapshot.ts';
import { keyPairOf, revocationListsOf, rootsOf, type Found } from './credentials.ts';

/** What of a policy is about TLS. */
export type TlsSpec = NonNullable<TrafficGroups['tls']>;

/** Where a policy is in force. */
export type TlsPlace = Readonly<{
  picture: Picture;
  /** Where the Secrets of the proxy are. */
  proxyNamespace: string;
  /** Proxies of other namespaces are told too, to which no key of a Secret may go. */
  isShared: boolean;
  /** The host that is called; with `*` where it stands for many. */
  hostname: string;
}>;

/** Either what is done, or why nothing may be sent: plain text is never the answer to TLS that cannot be done. */
export type TlsChoice = Readonly<{ tls?: UpstreamTls; problem?: string }>;

/** The value of `caCertificates` that means the roots of the system, which are the default too. */
const SYSTEM_ROOTS = 'system';

/** No TLS of any kind said; the parts that a mode fills in. */
export const NO_CREDENTIALS = {
  ...{ roots: '', certificate: '', key: '', rootsFile: '', certificateFile: '', keyFile: '' },
  ...{ revocationLists: '', revocationListsFile: '' },
} as const;

/** What the `tls` of a DestinationRule asks for. */
export function toUpstreamTls(written: TlsSpec | undefined, place: TlsPlace): TlsChoice {
  switch (written?.mode) {
    case undefined:
    case 'DISABLE':
      return {};
    case 'ISTIO_MUTUAL':
      return {
        tls: {
          ...{ mode: 'mesh', ...NO_CREDENTIALS, sni: written.sni },
          ...{ subjectAltNames: written.subjectAltNames, insecureSkipVerify: false },
        },
      };
    case 'SIMPLE':
    case 'MUTUAL':
      return toApplicationTls(written, place);
  }
}

function toApplicationTls(written: TlsSpec, place: TlsPlace): TlsChoice {
  const { mode, subjectAltNames, insecureSkipVerify } = written;
  if (written.caCrl !== '' && insecureSkipVerify)
    return { problem: 'tls.caCrl cannot be looked at where insecureSkipVerify is set' };
  const isOneHost = !place.hostname.startsWith('*') && isIP(place.hostname) === 0;
  const sni = written.sni === '' && isOneHost ? place.hostname : written.sni;
  const names = subjectAltNames.length === 0 && sni !== '' ? [sni] : subjectAltNames;
  if (names.length === 0 && !insecureSkipVerify)
    return { problem: `tls needs sni or subjectAltNames, as ${place.hostname} is no host` };
  const credentials =
    written.credentialName === '' ? filesOf(written) : fromCredential(written, place);
  if ('problem' in credentials) return credentials;
  return {
    tls: {
      ...{ mode: mode === 'MUTUAL' ? 'mutual' : 'simple', sni, subjectAltNames: names },
      ...{ ...NO_CREDENTIALS, ...credentials, insecureSkipVerify },
    },
  };
}

type Credentials = Partial<Omit<UpstreamTls, 'mode'>>;

/** Files of the proxy's pod. */
function filesOf(written: TlsSpec): Credentials {
  const { mode, caCertificates, caCrl, clientCertificate, privateKey } = written;
  return {
    rootsFile: caCertificates === SYSTEM_ROOTS ? '' : caCertificates,
    revocationListsFile: caCrl,
    ...(mode === 'MUTUAL' && { certificateFile: clientCertificate, keyFile: privateKey }),
  };
}

/** Istio keeps the authorities in the Secret itself, or in one whose name ends in `-cacert`. */
function fromCredential(
  { mode, credentialName, insecureSkipVerify }: TlsSpec,
  { picture, proxyNamespace, isShared }: TlsPlace,
): Found<Credentials> {
  const [scheme, name] = splitCredential(credentialName);
  if (scheme === 'configmap') {
    if (mode === 'MUTUAL') return { problem: 'tls.credentialName: a ConfigMap holds no key' };
    const map = picture.get('ConfigMap', proxyNamespace, name);
    if (map === undefined) return { problem: `ConfigMap ${proxyNamespace}/${name} does not exist` };
    return authoritiesOf(map, insecureSkipVerify);
  }
  if (mode === 'MUTUAL' && isShared)
    return { problem: 'tls.credentialName: waypoints of several namespaces would get the key' };
  const secret = picture.get('Secret', proxyNamespace, name);
  if (secret === undefined) return { problem: `Secret ${proxyNamespace}/${name} does not exist` };
  const apart = picture.get('Secret', proxyNamespace, `${name}-cacert`);
  const authorities = authoritiesOf(secret, insecureSkipVerify, apart);
  if ('problem' in authorities) return authorities;
  const pair = mode === 'MUTUAL' ? keyPairOf(secret) : undefined;
  if (pair !== undefined && 'problem' in pair) return pair;
  return { ...authorities, ...(pair && { certificate: pair.chainPem, key: pair.keyPem }) };
}

/**
 * Whom a server's certificate may be of, and what they have revoked; nobody where whoever answers is accepted.
 *
 * @param apart looked at where the object has none.
 */
function authoritiesOf(
  object: ConfigMap | Secret,
  insecureSkipVerify: boolean,
  apart?: Secret,
): Found<Credentials> {
  if (insecureSkipVerify) return {};
  const roots = rootsOf(object);
  if ('problem' in roots) return apart === undefined ? roots : authoritiesOf(apart, false);
  const lists = revocationListsOf(object);
  return 'problem' in lists ? lists : { roots: roots.rootsPem, ...lists };
}

function splitCredential(credentialName: string): [scheme: string, name: string] {
  const at = credentialName.indexOf('://');
  return at < 0
    ? ['kubernetes', credentialName]
    : [credentialName.slice(0, at), credentialName.slice(at + 3)];
}
