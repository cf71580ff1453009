import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

/** A client on one node and the server that it asks on the other. */
export const SHOP = [
  namespaceYaml('shop'),
  podYaml('web', { node: 'node-2' }),
  podYaml('client', { node: 'node-1' }),
  serviceYaml('web', { 80: 9000 }),
].join('');
