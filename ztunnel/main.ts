import { runProgram } from '../mesh/runtime/program.ts';
import { startZtunnel } from './app.ts';
import { readZtunnelConfig, ztunnelSettingsHelp } from './config.ts';

await runProgram({
  name: 'ztunnel',
  summary:
    'The node proxy: carries the traffic of the pods of its node over mTLS, and enforces L4 policy.',
  settingsHelp: ztunnelSettingsHelp(),
  readConfig: readZtunnelConfig,
  start: startZtunnel,
});
