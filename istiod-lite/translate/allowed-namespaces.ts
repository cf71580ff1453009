import { NAMESPACE_NAME } from '../../mesh/kubernetes/labels.ts';
import { selectorMatches, type LabelSelector } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';

/** Which namespaces something lets in, as listeners and Gateways say it. */
export type AllowedNamespaces = Readonly<{
  from: 'All' | 'Selector' | 'Same' | 'None';
  selector?: LabelSelector | undefined;
}>;

/** @param home the namespace of what lets others in. */
export function isAllowedNamespace(
  picture: Picture,
  { from, selector }: AllowedNamespaces,
  home: string,
  namespace: string,
): boolean {
  switch (from) {
    case 'All':
      return true;
    case 'None':
      return false;
    case 'Same':
      return namespace === home;
    case 'Selector': {
      const labels = picture.get('Namespace', '', namespace)?.metadata.labels ?? new Map();
      // Kubernetes gives every namespace this label.
      const named = new Map([[NAMESPACE_NAME, namespace], ...labels]);
      return selector !== undefined && selectorMatches(selector, named);
    }
  }
}
