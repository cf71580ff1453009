import { parseIpAddress } from '../../base/address.ts';
import { DEFAULT_SETTINGS } from '../../istiod-lite/check.ts';
import { translateHttpPolicy } from '../../istiod-lite/translate/http-policies.ts';
import { readObjects } from '../../mesh/kubernetes/read.ts';
import type { ExternalAuthorizer, HttpPolicy } from '../../mesh/model/http-policy.ts';
import type { PolicyRequest, RequestIdentity } from '../../mesh/model/http-policy-values.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { serviceKey } from '../../mesh/model/service.ts';
import { serviceTarget } from '../../mesh/model/target-security.ts';
import { decodeTargetSecurity, encodeTargetSecurity } from '../../mesh/xds/codec-http-policy.ts';

export function makeAuthorizer(fields: Partial<ExternalAuthorizer> = {}): ExternalAuthorizer {
  return {
    ...{ name: 'asker', host: '127.0.0.1', port: 9000, timeoutMs: 5000, failOpen: false },
    ...{ statusOnError: 403, maxRequestBytes: 0, allowPartialMessage: false, packAsBytes: false },
    includeHeaders: [],
    ...fields,
  };
}

const authorizers = new Map([['asker', makeAuthorizer()]]);

export type PolicySpec = Readonly<{
  name?: string;
  namespace?: string;
  annotations?: Readonly<Record<string, string>>;
  action?: string;
  provider?: Readonly<{ name: string }>;
  rules?: readonly unknown[];
}>;

/** Policies as a waypoint has them: written, read, translated, sent and received. @throws for what admission refuses. */
export function httpPolicies(...specs: readonly PolicySpec[]): readonly HttpPolicy[] {
  const policies = specs.map(
    ({ name = 'policy', namespace = 'shop', annotations = {}, ...spec }) => {
      const document = {
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        metadata: { name, namespace, annotations },
        spec: { targetRefs: [{ group: '', kind: 'Service', name: 'web' }], ...spec },
      };
      const { objects, problems } = readObjects(JSON.stringify(document), 'policy.yaml');
      const object = objects[0]?.object;
      if (object?.kind !== 'AuthorizationPolicy') throw new Error(JSON.stringify(problems));
      return translateHttpPolicy(object, DEFAULT_SETTINGS, authorizers);
    },
  );
  const target = serviceTarget(serviceKey('shop', 'web.shop.svc.cluster.local'));
  const bytes = encodeTargetSecurity({ target, policies, authentications: [] });
  return decodeTargetSecurity(bytes).policies;
}

export type RequestFields = Readonly<{
  /** `<namespace>/<account>` of cluster.local, or '' for none. */
  from?: string;
  sourceIp?: string;
  remoteIp?: string;
  port?: number;
  host?: string;
  hostPort?: number;
  method?: string;
  path?: string;
  headers?: readonly string[];
  identity?: RequestIdentity;
}>;

/** GET http://web/ by shop/client, where nothing else is said. */
export function httpRequest(fields: RequestFields = {}): PolicyRequest {
  const { from = 'shop/client', host = 'web', method = 'GET', path = '/', identity } = fields;
  const [namespace = '', account = ''] = from.split('/');
  const sourceIp = parseIpAddress(fields.sourceIp ?? '10.0.0.1');
  return {
    connection: {
      ...{ sourceIp, destinationIp: parseIpAddress('10.0.0.2') },
      destinationPort: fields.port ?? 80,
      ...(from !== '' && {
        sourceIdentity: parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`),
      }),
    },
    remoteIp: parseIpAddress(fields.remoteIp ?? sourceIp),
    sni: '',
    http: {
      ...{ hostname: host, hostPort: fields.hostPort ?? 80, method, path },
      headers: fields.headers ?? [],
      ...(identity && { identity }),
    },
  };
}
