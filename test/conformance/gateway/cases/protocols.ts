import { ask } from '../expected.ts';
import type { Echo } from '../../echo/messages.ts';
import { httpRoute, path, to, when } from '../objects.ts';
import type { Runs } from './run.ts';

type Names = 'HTTPRouteBackendProtocolH2C' | 'HTTPRouteBackendProtocolWebSocket';

export const protocols: Runs<Names> = {
  async HTTPRouteBackendProtocolH2C(t, mesh) {
    await mesh.use(
      t,
      httpRoute(
        'h2c',
        ['same-namespace'],
        [when([path('/h2c')], to('infra-backend-v1', { port: 8081 }))],
      ),
    );
    const [[answer] = []] = await mesh.send([ask({ path: '/h2c/on?and=query' })]);
    const { protocol, path: seenPath, host } = JSON.parse(answer?.text ?? '{}') as Partial<Echo>;
    t.deepEqual(
      { protocol, path: seenPath, host },
      { protocol: 'H2C', path: '/h2c/on?and=query', host: 'any.example.test' },
    );
  },

  async HTTPRouteBackendProtocolWebSocket(t, mesh) {
    await mesh.use(
      t,
      httpRoute('websocket', ['same-namespace'], [to('infra-backend-v1', { port: 8082 })]),
    );
    const [[answer] = []] = await mesh.send([
      { url: 'ws://same-namespace/', headers: [['host', 'any.test']] },
    ]);
    t.is(answer?.status, 101);
    t.is(answer?.text, 'hello over a socket');
  },
};
