import { readdirSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { sandboxPaths, type KubernetesObject } from '../../../deploy/sandbox/api.ts';
import { reconciler } from '../../../deploy/sandbox/reconcile.ts';
import { ObjectStore } from '../../../deploy/sandbox/store.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

function object(kind: string, name: string): KubernetesObject {
  return { apiVersion: 'v1', kind, metadata: { name, namespace: 'shop' } };
}

test('what a controller makes of a change is written together with the change', async (t) => {
  using folder = new TemporaryFolder();
  const paths = sandboxPaths(folder.path);
  const store = new ObjectStore(paths);
  const controller = reconciler(
    () => {
      store.put(object('EndpointSlice', 'web-v4'));
    },
    (error) => {
      t.fail(String(error));
    },
  );
  store.onChange(() => {
    controller.trigger();
  });
  store.put(object('Pod', 'web'));
  const written = (): string[] => readdirSync(paths.coreObjects).sort();
  while (written().length === 0) await nextTurn();
  t.deepEqual(written(), ['EndpointSlice_shop_web-v4.yaml', 'Pod_shop_web.yaml']);
});
