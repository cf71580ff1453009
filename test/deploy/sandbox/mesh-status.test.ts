import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { KubernetesObject } from '../../../deploy/sandbox/api.ts';
import { MeshStatus, statusKey } from '../../../deploy/sandbox/mesh-status.ts';
import { withDeadline } from '../../support/deadline.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

const policy: KubernetesObject = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'deny', namespace: 'shop' },
  status: { conditions: [{ type: 'ZtunnelAccepted', status: 'Unknown' }, { type: 'Other' }] },
};

const accepted = { type: 'ZtunnelAccepted', status: 'True', reason: 'Accepted', message: '' };

function writeVerdict(folder: string, change: object): void {
  const { name, namespace } = policy.metadata;
  const { kind } = policy;
  const named = { group: 'security.istio.io', kind, namespace, name };
  const objects = [{ ...named, conditions: [accepted], addresses: [], ...change }];
  writeFileSync(join(folder, 'status.json'), JSON.stringify({ revision: 1, objects }));
}

test('MeshStatus replaces a condition of the same type, and keeps the others', (t) => {
  using folder = new TemporaryFolder();
  writeVerdict(folder.path, {});
  using status = new MeshStatus(folder.path);
  const [found] = status.addTo([policy]);
  t.deepEqual(found?.['status'], { conditions: [{ type: 'Other' }, accepted] });
});

test('MeshStatus adds the addresses that the control plane gave', (t) => {
  using folder = new TemporaryFolder();
  const addresses = [{ host: 'db.example', value: '240.240.0.1' }];
  writeVerdict(folder.path, { conditions: [], addresses });
  using status = new MeshStatus(folder.path);
  const [found] = status.addTo([{ ...policy, status: {} }]);
  t.deepEqual(found?.['status'], { addresses });
});

test('MeshStatus replaces what it said of the parents of a route, and keeps what other controllers say', (t) => {
  using folder = new TemporaryFolder();
  const parent = (controllerName: string, status: string): object => ({
    ...{ parentRef: { name: 'web' }, controllerName, conditions: [{ type: 'Accepted', status }] },
  });
  const parents = [parent('istio.io/gateway-controller', 'True')];
  writeVerdict(folder.path, { conditions: [], parents });
  const known = [parent('other', 'True'), parent('istio.io/gateway-controller', 'False')];
  using status = new MeshStatus(folder.path);
  const [found] = status.addTo([{ ...policy, status: { parents: known } }]);
  t.deepEqual(found?.['status'], { parents: [known[0], ...parents] });
});

test('MeshStatus follows the file, and takes no other group or name for the same object', (t) => {
  using folder = new TemporaryFolder();
  using status = new MeshStatus(folder.path);
  t.deepEqual(status.addTo([policy]), [policy]); // not written yet
  writeVerdict(folder.path, { group: 'example.com' });
  t.deepEqual(status.addTo([policy]), [policy]);
  writeVerdict(folder.path, { name: 'deny-all' });
  t.deepEqual(status.addTo([policy]), [policy]);
  writeVerdict(folder.path, {});
  t.notDeepEqual(status.addTo([policy]), [policy]);
});

test('MeshStatus keeps what it knew while the file cannot be read', (t) => {
  using folder = new TemporaryFolder();
  using status = new MeshStatus(folder.path);
  writeVerdict(folder.path, {});
  const before = status.addTo([policy]);
  writeFileSync(join(folder.path, 'status.json'), '{"objects": [');
  t.deepEqual(status.addTo([policy]), before);
});

test('MeshStatus tells whoever watches of which objects something else is said', async (t) => {
  using folder = new TemporaryFolder();
  using status = new MeshStatus(folder.path);
  const changes: string[][] = [];
  const { promise: told, resolve } = Promise.withResolvers<undefined>();
  status.onChange((changed) => {
    changes.push([...changed]);
    resolve(undefined);
  });
  writeVerdict(folder.path, {});
  await withDeadline(told, 5_000, 'the watcher is told');
  t.deepEqual(changes, [[statusKey(policy)]]);
  t.deepEqual(status.addKnown(policy)['status'], {
    conditions: [{ type: 'Other' }, accepted],
  });
});
