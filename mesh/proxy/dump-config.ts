import type { Json } from '../admin/config-dump.ts';
import type { SettingValues } from '../runtime/env.ts';
import type { controlPlaneSettings } from './settings.ts';

type Secrets = Pick<
  SettingValues<typeof controlPlaneSettings>,
  'authToken' | 'xdsHeaders' | 'caHeaders'
>;

/** A proxy's configuration for the config dump: without what may be a secret. */
export function dumpConfig(config: Secrets): Json {
  const { authToken, xdsHeaders, caHeaders, ...shown } = config;
  const hidden = {
    // A literal token is one; a path is not.
    authToken: authToken.includes('/') ? authToken : '<hidden>',
    xdsHeaders: [...xdsHeaders.keys()],
    caHeaders: [...caHeaders.keys()],
  };
  const text = JSON.stringify({ ...shown, ...hidden }, (_key, value: unknown) =>
    value instanceof Map ? (Object.fromEntries(value) as unknown) : value,
  );
  return JSON.parse(text) as Json;
}
