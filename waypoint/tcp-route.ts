import type { Authority } from '../mesh/hbone/authority.ts';
import type { TcpRoute } from '../mesh/model/http-route.ts';
import type { Service } from '../mesh/model/service.ts';
import { chooseWeighted } from '../mesh/model/weighted-choice.ts';
import { RefusedError } from '../mesh/proxy/refused-error.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import type { ServiceTarget } from './admit.ts';

/**
 * Where a connection goes on to by a route of its port. A backend that cannot be used keeps its share of the connections, which
 * are refused.
 *
 * @param authorityOf what the client has asked for.
 * @param random from 0 to below 1.
 * @throws {RefusedError} 503
 */
export function followTcpRoute(
  { name, backends }: TcpRoute,
  authorityOf: (service: Service, port: number) => Authority,
  state: ProxyState,
  random: number,
): ServiceTarget {
  const backend = chooseWeighted(backends, ({ weight }) => weight, random);
  if (backend === undefined) throw new RefusedError(503, `${name} has no backend`);
  const { target: to, problem = 'has no target' } = backend;
  if (to === undefined) throw new RefusedError(503, `${name}: ${problem}`);
  const service = state.service(to.service);
  if (service === undefined) throw new RefusedError(503, `${name}: ${to.service} is not known`);
  // Sent to all of the service's endpoints, connections would go elsewhere than is asked.
  if (to.subset !== undefined)
    throw new RefusedError(503, `${name}: subsets are not supported for connections`);
  return { kind: 'service', service, port: to.port, authority: authorityOf(service, to.port) };
}
