import type { ObjectBase } from './object.ts';
import {
  dictionary,
  fields,
  list,
  oneOf,
  optional,
  required,
  text,
  withDefault,
  type Decoded,
} from './schema.ts';

export const workloadSelector = fields({ matchLabels: dictionary(text()) });

export const targetReference = fields({
  group: text(),
  kind: required(text()),
  name: required(text()),
  namespace: text(),
});

const source = fields({
  principals: list(text()),
  notPrincipals: list(text()),
  requestPrincipals: list(text()),
  notRequestPrincipals: list(text()),
  namespaces: list(text()),
  notNamespaces: list(text()),
  serviceAccounts: list(text()),
  notServiceAccounts: list(text()),
  ipBlocks: list(text()),
  notIpBlocks: list(text()),
  remoteIpBlocks: list(text()),
  notRemoteIpBlocks: list(text()),
  trustDomains: list(text()),
  notTrustDomains: list(text()),
});

const operation = fields({
  hosts: list(text()),
  notHosts: list(text()),
  ports: list(text()),
  notPorts: list(text()),
  methods: list(text()),
  notMethods: list(text()),
  paths: list(text()),
  notPaths: list(text()),
});

// Presence counts: no `rules` at all, an empty list of them, and a rule with an empty `from` are three different things.
const rule = fields({
  from: optional(list(fields({ source: optional(source) }))),
  to: optional(list(fields({ operation: optional(operation) }))),
  when: list(fields({ key: required(text()), values: list(text()), notValues: list(text()) })),
});

const TOP_LEVEL = ['apiVersion', 'kind', 'metadata', 'status'];

export const authorizationPolicySchema = fields(
  {
    spec: fields({
      selector: optional(workloadSelector),
      targetRef: optional(targetReference),
      targetRefs: list(targetReference),
      action: withDefault(oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'], 'ALLOW'), 'ALLOW'),
      provider: optional(fields({ name: text() })),
      rules: optional(list(rule)),
    }),
  },
  'error',
  TOP_LEVEL,
);

const mtls = fields({
  mode: withDefault(oneOf(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'], 'UNSET'), 'UNSET'),
});

export const peerAuthenticationSchema = fields(
  {
    spec: fields({
      selector: optional(workloadSelector),
      mtls,
      portLevelMtls: dictionary(mtls),
    }),
  },
  'error',
  TOP_LEVEL,
);

export type AuthorizationPolicy = ObjectBase &
  Readonly<{ kind: 'AuthorizationPolicy' }> &
  Decoded<typeof authorizationPolicySchema>;
export type TargetReference = Decoded<typeof targetReference>;
export type AuthorizationRule = NonNullable<AuthorizationPolicy['spec']['rules']>[number];
export type AuthorizationSource = Decoded<typeof source>;
export type AuthorizationOperation = Decoded<typeof operation>;
export type AuthorizationCondition = AuthorizationRule['when'][number];
export type PeerAuthentication = ObjectBase &
  Readonly<{ kind: 'PeerAuthentication' }> &
  Decoded<typeof peerAuthenticationSchema>;
export type MtlsMode = PeerAuthentication['spec']['mtls']['mode'];

/** What a policy is attached to, however it was written. */
export function targetsOf({
  spec,
}: Readonly<{
  spec: Readonly<{
    targetRef?: TargetReference | undefined;
    targetRefs: readonly TargetReference[];
  }>;
}>): readonly TargetReference[] {
  return spec.targetRef === undefined ? spec.targetRefs : [spec.targetRef, ...spec.targetRefs];
}
