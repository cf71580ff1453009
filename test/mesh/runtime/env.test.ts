import test, { type ExecutionContext } from 'ava';
import * as env from '../../../mesh/runtime/env.ts';
import type { Env, Setting } from '../../../mesh/runtime/env.ts';

const description = 'For the test';
const none = { description, default: undefined };

const reads = test.macro({
  exec<T>(t: ExecutionContext, setting: Setting<T>, text: string, expected: T) {
    t.deepEqual(env.readEnv({ value: setting }, { NAME: text }).value, expected);
  },
  title: (given = '') => `readEnv() reads ${given}`,
});

test('a text', reads, env.stringSetting('NAME', none), ' a b ', ' a b ');
test(
  'an empty text as a value',
  reads,
  env.stringSetting('NAME', { description, default: 'x' }),
  '',
  '',
);
test(
  'an empty text without a default as none',
  reads,
  env.stringSetting('NAME', none),
  '',
  undefined,
);
test('an integer', reads, env.integerSetting('NAME', { ...none, min: -5, max: 5 }), '-5', -5);
test('an empty integer as the default', reads, integer(7), '', 7);
test('true', reads, env.booleanSetting('NAME', none), 'TRUE', true);
test('0 as false', reads, env.booleanSetting('NAME', none), '0', false);
test('a duration', reads, env.durationSetting('NAME', none), '5m', 300_000);
test('a word of several', reads, env.choiceSetting('NAME', ['a', 'b'], none), 'b', 'b');
test('a list', reads, list(','), ' a, b,,c ', ['a', 'b', 'c']);
test('an empty list', reads, list(','), '', []);
test('a list of folders', reads, list(':'), '/a:/b', ['/a', '/b']);

const refuses = test.macro({
  exec(t, setting: Setting<unknown>, text: string, message: string) {
    const error = t.throws(() => env.readEnv({ value: setting }, { NAME: text }), {
      code: 'ERR_ENV',
    });
    t.is(error.message, `Cannot read the environment:\n  NAME: ${message}`);
  },
  title: (given = '') => `readEnv() refuses ${given}, naming what was found and what is accepted`,
});

test('a fraction', refuses, integer(7), '1.5', 'found "1.5", expected integer from 0 to 10');
test('a large integer', refuses, integer(7), '11', 'found "11", expected integer from 0 to 10');
test('a hexadecimal', refuses, integer(7), '0x1', 'found "0x1", expected integer from 0 to 10');
test(
  'a boolean in words',
  refuses,
  env.booleanSetting('NAME', none),
  'yes',
  'found "yes", expected true or false',
);
test(
  'a short duration',
  refuses,
  env.durationSetting('NAME', { ...none, minMs: 1000 }),
  '1ms',
  'found "1ms", expected duration such as 10s, 5m, 24h from 1s',
);
test(
  'a line feed, which it escapes',
  refuses,
  env.choiceSetting('NAME', ['a', 'b'], none),
  'c\nd',
  'found "c\\nd", expected a or b',
);
test(
  'what a parser refuses, with its reason',
  refuses,
  env.parsedSetting('NAME', { ...none, accepts: 'JSON', parse: refuseAll }),
  '{',
  'found "{", expected JSON: it is never right',
);
test(
  'a variable that is not supported',
  refuses,
  env.unsupportedSetting('NAME', { reason: 'only TLS 1.3 is spoken', harmless: ['false'] }),
  'true',
  'not supported, found "true": only TLS 1.3 is spoken; unset it',
);

test('readEnv() reports every failure at once', (t) => {
  const settings = {
    port: env.integerSetting('PORT', { ...none, min: 1, max: 65535 }),
    flag: env.booleanSetting('FLAG', none),
    name: env.required(env.stringSetting('NAME', none)),
    fine: env.stringSetting('FINE', none),
  };
  const error = t.throws(() => env.readEnv(settings, { PORT: '0', FLAG: 'x', FINE: 'y' }));
  t.deepEqual(error.message.split('\n').slice(1), [
    '  PORT: found "0", expected integer from 1 to 65535',
    '  FLAG: found "x", expected true or false',
    '  NAME: not set, expected text',
  ]);
});

test('a variable that is not supported may have a harmless value', (t) => {
  const setting = env.unsupportedSetting('NAME', { reason: 'r', harmless: ['false'] });
  for (const vars of [{}, { NAME: '' }, { NAME: 'false' }] satisfies Env[])
    t.is(env.readEnv({ setting }, vars).setting, undefined);
});

test('a secret is not in the failure of another variable', (t) => {
  const settings = {
    token: env.secretSetting('TOKEN', none),
    flag: env.booleanSetting('FLAG', none),
  };
  const error = t.throws(() => env.readEnv(settings, { TOKEN: 'hunter2', FLAG: 'x' }));
  t.notRegex(error.message, /hunter2/);
});

test('familySetting() takes all variables of a prefix, __proto__ among them', (t) => {
  const setting = env.familySetting('XDS_HEADER_', { description });
  const vars = JSON.parse(
    '{"XDS_HEADER_A":"1","XDS_HEADER___proto__":"2","XDS_HEADER_":"3"}',
  ) as Env;
  t.deepEqual(
    [...env.readEnv({ setting }, vars).setting],
    [
      ['A', '1'],
      ['__proto__', '2'],
    ],
  );
});

test('describeSettings() lists name, meaning, what is accepted and the default', (t) => {
  const settings = { number: integer(7), wait: env.durationSetting('WAIT_TIME', none) };
  t.is(
    env.describeSettings(settings),
    [
      '  NAME       For the test (integer from 0 to 10) [7]\n',
      '  WAIT_TIME  For the test (duration such as 10s, 5m, 24h)\n',
    ].join(''),
  );
});

function integer(fallback: number): Setting<number> {
  return env.integerSetting('NAME', { description, default: fallback, min: 0, max: 10 });
}

function list(separator: ',' | ':'): Setting<readonly string[]> {
  return env.listSetting('NAME', { description, default: [], separator });
}

function refuseAll(): string {
  throw new Error('it is never right');
}
