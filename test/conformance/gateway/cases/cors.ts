import { ask } from '../expected.ts';
import type { Fields } from '../../echo/messages.ts';
import { httpRoute, path, to, when } from '../objects.ts';
import type { Runs } from './run.ts';

type Answered = Readonly<Record<string, readonly string[] | undefined>>;

const FOO = 'https://www.foo.com';
const METHOD: Fields[number] = ['access-control-request-method', 'GET'];

function valuesOf(headers: Fields, name: string): string[] | undefined {
  const found = headers.filter(([each]) => each.toLowerCase() === `access-control-${name}`);
  return found.length === 0 ? undefined : found.flatMap(([, value]) => value.split(/, */));
}

export const cors: Runs<'HTTPRouteCORS'> = {
  async HTTPRouteCORS(t, mesh) {
    const rule = (asked: string, fields: Readonly<Record<string, unknown>>) =>
      when([path(asked)], { filters: [{ type: 'CORS', cors: fields }], ...to('infra-backend-v1') });
    await mesh.use(
      t,
      httpRoute(
        'cors',
        ['same-namespace'],
        [
          rule('/cors-1', {
            ...{ allowOrigins: [FOO, 'https://*.bar.com'], allowMethods: ['GET', 'OPTIONS'] },
            ...{ allowHeaders: ['x-header-1', 'x-header-2'], exposeHeaders: ['x-header-3'] },
            ...{ allowCredentials: true, maxAge: 3600 },
          }),
          rule('/any-method', { allowOrigins: [FOO], allowMethods: ['*'] }),
          rule('/any-origin', { allowOrigins: ['*'], allowMethods: ['PUT'] }),
          rule('/any', {
            ...{ allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'] },
            allowCredentials: true,
          }),
        ],
      ),
    );
    const check = async (
      asked: string,
      request: Readonly<{ method?: string; headers: Fields }>,
      expected: Answered,
    ): Promise<void> => {
      const [[answer] = []] = await mesh.send([ask({ path: asked, ...request })]);
      const { status = 0, headers = [], echo } = answer ?? {};
      const preflight = request.method === 'OPTIONS';
      t.true(status === 200 || (preflight && status === 204), `${asked}: ${status}`);
      // A preflight is for the gateway alone; what is no preflight goes on, whatever its origin is.
      t.is(echo === undefined, preflight, asked);
      t.deepEqual(
        Object.fromEntries(Object.keys(expected).map((name) => [name, valuesOf(headers, name)])),
        expected,
        `${asked} ${JSON.stringify(request)}`,
      );
    };
    const none: Answered = { 'allow-origin': undefined, 'allow-credentials': undefined };
    const preflight = (origin: string, ...more: Fields): { method: string; headers: Fields } => ({
      ...{ method: 'OPTIONS', headers: [['origin', origin], METHOD, ...more] },
    });
    const credentials = { 'allow-credentials': ['true'] };
    await check('/cors-1', preflight(FOO, ['access-control-request-headers', 'x-header-1']), {
      ...{ 'allow-origin': [FOO], ...credentials, 'allow-methods': ['GET', 'OPTIONS'] },
      ...{ 'allow-headers': ['x-header-1', 'x-header-2'], 'max-age': ['3600'] },
    });
    await check('/cors-1', preflight('https://www.bar.com'), {
      ...{ 'allow-origin': ['https://www.bar.com'], ...credentials },
    });
    await check('/cors-1', preflight('https://a.b.bar.com'), {
      ...{ 'allow-origin': ['https://a.b.bar.com'] },
    });
    for (const origin of ['https://foobar.com', 'http://www.foo.com', 'https://www.foo.com:8080'])
      await check('/cors-1', preflight(origin), none);
    await check(
      '/cors-1',
      { headers: [['origin', FOO]] },
      {
        ...{ 'allow-origin': [FOO], ...credentials, 'expose-headers': ['x-header-3'] },
      },
    );
    await check('/cors-1', { headers: [['origin', 'https://foobar.com']] }, none);
    await check('/cors-1', { headers: [] }, none);
    await check('/any-method', preflight(FOO), {
      ...{ 'allow-origin': [FOO], 'allow-methods': ['*'], 'allow-credentials': undefined },
    });
    const [[open] = []] = await mesh.send([
      ask({
        path: '/any-origin',
        method: 'OPTIONS',
        headers: [['origin', 'https://a.test'], METHOD],
      }),
    ]);
    const allowed = valuesOf(open?.headers ?? [], 'allow-origin') ?? [];
    t.true(['*', 'https://a.test'].includes(allowed[0] ?? ''));
    // With credentials nothing is answered with a wildcard.
    await check('/any', preflight(FOO, ['access-control-request-headers', 'x-header-9']), {
      ...{ 'allow-origin': [FOO], ...credentials, 'allow-methods': ['GET'] },
      'allow-headers': ['x-header-9'],
    });
  },
};
