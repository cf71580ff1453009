import type { KubernetesObject, PartStatus } from '../deploy/sandbox/api.ts';
import type { Candidate, LiveNames } from './complete.ts';
import { namespaceOf } from './object-fields.ts';
import { DEFAULT_NAMESPACE } from './references.ts';
import { Sandbox, sandboxName, sandboxNames } from './sandbox.ts';
import { isWaypoint } from './waypoints.ts';

/** A shell that waits longer than this for a Tab feels broken. */
const DEADLINE_MS = 800;

/** The plural names of the kinds that have a table of their own, and others that the sandbox keeps. */
const KINDS = [
  'namespaces',
  'nodes',
  'pods',
  'services',
  'deployments',
  'serviceaccounts',
  'endpointslices',
  'authorizationpolicies',
  'peerauthentications',
  'serviceentries',
  'workloadentries',
  'gateways',
  'httproutes',
];

/** Names from the running sandbox; none when it does not run or does not answer in time. */
export const liveNames: LiveNames = async (what, name, words) => {
  if (what === 'sandboxes') return sandboxNames().map(plain);
  if (what === 'kinds') return KINDS.map(plain);
  try {
    return await namesIn(new Sandbox(sandboxName(name)), what, words);
  } catch {
    return [];
  }
};

async function namesIn(
  sandbox: Sandbox,
  what: string,
  words: readonly string[],
): Promise<readonly Candidate[]> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const ofKind = (kind: string): Promise<readonly KubernetesObject[]> =>
    sandbox.objects({ kind }, signal);
  switch (what) {
    case 'namespaces':
      return (await ofKind('Namespace')).map((object) => plain(object.metadata.name));
    case 'pods':
      return (await ofKind('Pod')).map(withNamespace);
    case 'deployments':
      return (await ofKind('Deployment')).map(withNamespace);
    case 'waypoints':
      return (await ofKind('Gateway')).filter(isWaypoint).map((gateway) => ({
        word: gateway.metadata.name,
        summary: namespaceOf(gateway),
      }));
    case 'workloads':
    case 'targets': {
      const kinds = what === 'targets' ? ['Pod', 'Deployment', 'Service'] : ['Pod', 'Deployment'];
      const [pods = [], deployments = [], services = []] = await Promise.all(kinds.map(ofKind));
      const prefixed = (prefix: string, objects: readonly KubernetesObject[]): Candidate[] =>
        objects.map((object) => ({
          word: `${prefix}/${object.metadata.name}`,
          summary: namespaceOf(object),
        }));
      return [
        ...pods.map(withNamespace),
        ...prefixed('deploy', deployments),
        ...prefixed('svc', services),
      ];
    }
    case 'destinations': {
      const [services, pods] = await Promise.all(['Service', 'Pod'].map(ofKind));
      return [
        ...(services ?? []).map((service) => ({
          word: `${service.metadata.name}.${namespaceOf(service)}`,
          summary: 'Service',
        })),
        ...(pods ?? []).map(withNamespace),
      ];
    }
    case 'parts': {
      const { parts } = await sandbox.status(signal);
      return parts.map((part) => ({ word: part.name, summary: part.state }));
    }
    case 'nodes': {
      const { nodes } = await sandbox.status(signal);
      return nodes.map((node) => plain(node.name));
    }
    case 'restartable': {
      const { parts } = await sandbox.status(signal);
      const kinds = new Set(parts.map((part) => part.kind));
      return [
        ...(await ofKind('Deployment')).map((object) => ({
          word: `deploy/${object.metadata.name}`,
          summary: namespaceOf(object),
        })),
        ...[...kinds].map(plain),
        ...parts
          .filter((part) => !kinds.has(part.name as PartStatus['kind']))
          .map((part) => ({ word: part.name, summary: part.state })),
      ];
    }
    case 'objects': {
      const kind = words[0];
      if (kind === undefined) return KINDS.map(plain);
      return (await ofKind(kind)).map((object) => plain(object.metadata.name));
    }
    default:
      return [];
  }
}

function plain(word: string): Candidate {
  return { word, summary: '' };
}

/** A name alone is enough in `default`; elsewhere the namespace stands before it. */
function withNamespace(object: KubernetesObject): Candidate {
  const namespace = namespaceOf(object);
  const { name } = object.metadata;
  return {
    word: namespace === DEFAULT_NAMESPACE ? name : `${namespace}/${name}`,
    summary: namespace,
  };
}
