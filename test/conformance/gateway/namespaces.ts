/** The namespaces of upstream's suite: gateways and their own backends, then those of applications. */
export const INFRA = 'gateway-conformance-infra';
export const APP_BACKEND = 'gateway-conformance-app-backend';
export const WEB_BACKEND = 'gateway-conformance-web-backend';
/** Of ours: where requests come from, outside of the mesh. */
export const CLIENT = 'gateway-conformance-client';
