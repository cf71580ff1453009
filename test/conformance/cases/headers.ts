import type { ExecutionContext } from 'ava';
import type { EchoMesh } from '../echo-mesh.ts';
import { expectAll, type Case, type Expected } from '../expected.ts';
import type { Runs } from './run.ts';

type Names =
  | 'MeshHTTPRouteRequestHeaderModifier'
  | 'MeshHTTPRouteBackendRequestHeaderModifier'
  | 'MeshGRPCRouteRequestHeaderModifier';

/** The same changes, made by the rule or on the way to its backend. */
async function expectChanges(t: ExecutionContext, mesh: EchoMesh): Promise<void> {
  const change = (
    path: string,
    sent: Record<string, string>,
    seen: Expected['seen'] & object,
  ): Case => [
    { url: `http://echo${path}`, headers: Object.entries(sent) },
    { by: 'echo-v1', seen },
  ];
  const other = { 'Some-Other-Header': 'val' };
  const kept = { 'Some-Other-Header': ['val'] };
  await expectAll(t, mesh, [
    change('/set', other, { ...kept, 'X-Header-Set': ['set-overwrites-values'] }),
    change(
      '/set',
      { ...other, 'X-Header-Set': 'some-other-value' },
      { ...kept, 'X-Header-Set': ['set-overwrites-values'] },
    ),
    change('/add', other, { ...kept, 'X-Header-Add': ['add-appends-values'] }),
    change(
      '/add',
      { ...other, 'X-Header-Add': 'some-other-value' },
      { ...kept, 'X-Header-Add': ['some-other-value', 'add-appends-values'] },
    ),
    change('/remove', { ...other, 'X-Header-Remove': 'val' }, { ...kept, 'X-Header-Remove': [] }),
    change(
      '/multiple',
      {
        ...{ ...other, 'X-Header-Set-2': 'set-val-2', 'X-Header-Add-2': 'add-val-2' },
        ...{ 'X-Header-Remove-2': 'remove-val-2', 'Another-Header': 'another-header-val' },
      },
      {
        ...{ ...kept, 'Another-Header': ['another-header-val'] },
        ...{ 'X-Header-Set-1': ['header-set-1'], 'X-Header-Set-2': ['header-set-2'] },
        ...{ 'X-Header-Add-1': ['header-add-1'], 'X-Header-Add-2': ['add-val-2', 'header-add-2'] },
        ...{ 'X-Header-Add-3': ['header-add-3'], 'X-Header-Remove-1': [], 'X-Header-Remove-2': [] },
      },
    ),
    // The names of a route are in another case than those of the client.
    change(
      '/case-insensitivity',
      {
        ...{ 'x-header-set': 'original-val-set', 'x-header-add': 'original-val-add' },
        ...{ 'x-header-remove': 'original-val-remove', ...other },
      },
      {
        ...{ 'X-Header-Set': ['header-set'], 'X-Header-Add': ['original-val-add', 'header-add'] },
        ...{ 'X-Header-Remove': [], ...kept },
      },
    ),
  ]);
}

export const headers: Runs<Names> = {
  async MeshHTTPRouteRequestHeaderModifier(t, mesh) {
    await mesh.useRoutes(t, 'request-header-modifier');
    await expectChanges(t, mesh);
  },

  async MeshHTTPRouteBackendRequestHeaderModifier(t, mesh) {
    await mesh.useRoutes(t, 'request-header-modifier-backend');
    await expectChanges(t, mesh);
  },

  async MeshGRPCRouteRequestHeaderModifier(t, mesh) {
    await mesh.useRoutes(t, 'grpc-request-header-modifier');
    const change = (
      testCase: string,
      by: string,
      sent: Record<string, string>,
      seen: Expected['seen'] & object,
    ): Case => {
      const fields = Object.entries({ 'x-test-case': testCase, ...sent });
      const expected = { by, seen: { 'x-test-case': [testCase], ...seen } };
      return [{ url: 'grpc://echo:7070', headers: fields }, expected];
    };
    await expectAll(t, mesh, [
      change('set', 'echo-v1', {}, { 'x-header-set': ['set-overwrites-values'] }),
      change(
        'set',
        'echo-v1',
        { 'x-header-set': 'some-other-value' },
        { 'x-header-set': ['set-overwrites-values'] },
      ),
      change('add', 'echo-v1', {}, { 'x-header-add': ['add-appends-values'] }),
      change(
        'add',
        'echo-v1',
        { 'x-header-add': 'some-other-value' },
        { 'x-header-add': ['some-other-value', 'add-appends-values'] },
      ),
      change('remove', 'echo-v1', { 'x-header-remove': 'val' }, { 'x-header-remove': [] }),
      change(
        'multi',
        'echo-v2',
        {
          ...{ 'x-header-set-2': 'set-val-2', 'x-header-add-2': 'add-val-2' },
          ...{ 'x-header-remove-2': 'remove-val-2', 'another-header': 'another-header-val' },
        },
        {
          ...{ 'x-header-set-1': ['header-set-1'], 'x-header-set-2': ['header-set-2'] },
          ...{ 'x-header-add-1': ['header-add-1'] },
          ...{ 'x-header-add-2': ['add-val-2', 'header-add-2'] },
          ...{ 'x-header-remove-1': [], 'x-header-remove-2': [] },
          'another-header': ['another-header-val'],
        },
      ),
      // UNIMPLEMENTED: no rule is for it.
      [
        { url: 'grpc://echo:7070', headers: [['x-test-case', 'none']] },
        { grpcStatus: 12, answered: {} },
      ],
    ]);
  },
};
