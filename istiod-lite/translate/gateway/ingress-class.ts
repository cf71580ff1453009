import { hash } from 'node:crypto';
import type { IpAddress } from '../../../base/address.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import { INGRESS_CLASS, INGRESS_CONTROLLER } from '../../../mesh/kubernetes/labels.ts';
import type { Picture } from '../../snapshot.ts';

/** The longest name of a Service, and the longest value of a label. */
const MAX_NAME = 63;
const HASH_DIGITS = 8;

/** Whether a Gateway is one at the edge of the mesh: by the controller of its class, or by the name of the class that is made where it is missing. */
export function isIngress(picture: Pick<Picture, 'get'>, { spec }: Gateway): boolean {
  const gatewayClass = picture.get('GatewayClass', '', spec.gatewayClassName);
  return gatewayClass === undefined
    ? spec.gatewayClassName === INGRESS_CLASS
    : gatewayClass.spec.controllerName === INGRESS_CONTROLLER;
}

/**
 * What everything that runs a gateway is called, `<Gateway>-<class>` as istio names it: a Service of the Gateway's own name
 * is often somebody else's.
 */
export function ingressName({ ref, spec }: Gateway): string {
  return shortened(`${ref.name}-${spec.gatewayClassName}`);
}

/** What the Service of an address that a Gateway asks for is called: the address is in the hash. */
export function fixedName(gateway: Gateway, ip: IpAddress): string {
  return shortened(`${ingressName(gateway)}-${hash('sha256', ip, 'hex').slice(0, HASH_DIGITS)}`);
}

/** The value of the label that tells a Gateway's instances. */
export function ingressLabel({ ref }: Gateway): string {
  return shortened(ref.name);
}

function shortened(name: string): string {
  if (name.length <= MAX_NAME) return name;
  const start = name.slice(0, MAX_NAME - HASH_DIGITS - 1).replace(/[^a-z0-9]+$/, '');
  return `${start}-${hash('sha256', name, 'hex').slice(0, HASH_DIGITS)}`;
}
