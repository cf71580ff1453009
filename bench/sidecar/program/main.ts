import {
  describeSettings,
  readEnv,
  required,
  stringSetting,
  type SettingValues,
} from '../../../mesh/runtime/env.ts';
import { logSettings } from '../../../mesh/runtime/log.ts';
import { runProgram } from '../../../mesh/runtime/program.ts';
import { ACCOUNT_VARIABLE, FOLDER_VARIABLE } from '../halo-files.ts';
import { startSidecar } from './app.ts';

const settings = {
  folder: required(
    stringSetting(FOLDER_VARIABLE, {
      ...{ description: 'Where its files are', default: undefined },
    }),
  ),
  account: required(
    stringSetting(ACCOUNT_VARIABLE, {
      ...{ description: "The pod's service account", default: undefined },
    }),
  ),
  podName: stringSetting('HOSTNAME', { description: "The pod's name", default: '' }),
  ...logSettings,
};

await runProgram<SettingValues<typeof settings>>({
  name: 'sidecar',
  summary:
    'A proxy beside one application: what it sends and gets goes over mTLS, request by request.',
  settingsHelp: describeSettings(settings),
  readConfig: (env) => readEnv(settings, env),
  start: startSidecar,
});
