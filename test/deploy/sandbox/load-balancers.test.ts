import test from 'ava';
import { sandboxPaths, type KubernetesObject } from '../../../deploy/sandbox/api.ts';
import { balancedVips } from '../../../deploy/sandbox/load-balancers.ts';
import { ServiceAddresses } from '../../../deploy/sandbox/services.ts';
import { ObjectStore } from '../../../deploy/sandbox/store.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

function service(name: string, spec: object): KubernetesObject {
  const metadata = { name, namespace: 'shop' };
  return { apiVersion: 'v1', kind: 'Service', metadata, spec: { ports: [], ...spec } };
}

test('a load balancer has the address that is asked for once it is free, and else none', (t) => {
  using folder = new TemporaryFolder();
  const store = new ObjectStore(sandboxPaths(folder.path));
  const addresses = new ServiceAddresses(store, false);
  const apply = (name: string, spec: object): void => {
    const before = store.get('Service', 'shop', name);
    const old = before?.['spec'] as object | undefined;
    store.put({ ...before, ...service(name, { ...old, ...spec }) });
  };
  const vips = (name: string): readonly string[] => {
    t.deepEqual(addresses.reconcile(), []);
    const found = store.get('Service', 'shop', name);
    return found === undefined ? [] : balancedVips(found);
  };
  const asking = { type: 'LoadBalancer', loadBalancerIP: '10.96.200.1' };
  apply('one', asking);
  t.deepEqual(vips('one'), ['10.96.200.1']);
  apply('two', asking);
  t.deepEqual(vips('two'), []);
  apply('one', { loadBalancerIP: '10.96.200.2' });
  t.deepEqual(vips('two'), ['10.96.200.1']);
  t.deepEqual(vips('one'), ['10.96.200.2']);
  apply('one', { loadBalancerIP: '192.0.2.1' });
  t.deepEqual(vips('one'), []);
  apply('one', { loadBalancerIP: '' });
  t.deepEqual(vips('one'), ['10.96.0.100']);
  apply('one', { type: 'ClusterIP' });
  t.deepEqual(vips('one'), []);
  store.flush(); // while its folder is there
});
