import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import { warning, type Finding } from './mesh.ts';

/** Traffic policies that do what they say, and more harm than good. */
export function checkTrafficPolicy(object: KubernetesObject): Finding[] {
  if (object.kind !== 'DestinationRule') return [];
  const { trafficPolicy, subsets } = object.spec;
  const policies = [
    ['spec.trafficPolicy', trafficPolicy] as const,
    ...subsets.map((each) => [`subset ${each.name}`, each.trafficPolicy] as const),
  ];
  return policies.flatMap(([place, policy]) => {
    const places = [
      [place, policy?.outlierDetection] as const,
      ...(policy?.portLevelSettings ?? []).map(
        ({ port, outlierDetection }) =>
          [`${place}, port ${port.number}`, outlierDetection] as const,
      ),
    ];
    return places.flatMap(([where, outliers]): Finding[] => {
      if (outliers?.maxEjectionPercent !== 100) return [];
      return [
        warning(
          `${where}: ejects without a maximum: with maxEjectionPercent 100, one fault that all endpoints share takes every one of them away`,
          'keep some endpoints, as the default of 10 does',
        ),
      ];
    });
  });
}
