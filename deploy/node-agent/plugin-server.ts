import { textPage, type AdminRoute } from '../../mesh/admin/server.ts';
import { describeError } from '../../base/errors.ts';
import type { Enrolments } from './enrolments.ts';

/** Less than what the caller waits, so that it hears the reason. */
const DECISION_TIMEOUT_MS = 25_000;

/**
 * The page on which a CNI plugin announces a pod, in istio-cni's shape: `POST /cmdadd` with `{Netns, PodName,
 * PodNamespace, IPs}`. 200 lets the pod start; anything else does not, and the caller asks again.
 */
export function pluginRoutes(enrolments: Enrolments, stopping: AbortSignal): AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/cmdadd',
      description: 'A pod is about to start; answered when it may',
      handle: async ({ body }) => {
        const { PodName, PodNamespace } = JSON.parse(body) as Record<string, unknown>;
        if (typeof PodName !== 'string' || typeof PodNamespace !== 'string')
          return textPage('PodName and PodNamespace are needed\n', 400);
        const signal = AbortSignal.any([stopping, AbortSignal.timeout(DECISION_TIMEOUT_MS)]);
        try {
          await enrolments.whenDecided(PodNamespace, PodName, signal);
          return textPage('');
        } catch (error) {
          return textPage(`pod ${PodNamespace}/${PodName}: ${describeError(error)}\n`, 503);
        }
      },
    },
  ];
}
