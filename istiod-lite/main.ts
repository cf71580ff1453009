import { runProgram } from '../mesh/runtime/program.ts';
import { serveAdmin } from './admin.ts';
import { startControlPlane } from './app.ts';
import { readConfig, settingsHelp } from './config.ts';

await runProgram({
  name: 'istiod-lite',
  summary: 'The control plane of Halo: certificates and configuration for its proxies.',
  settingsHelp: settingsHelp(),
  readConfig,
  async start({ config, log, stack }) {
    const plane = await startControlPlane(config, { log, stack });
    await serveAdmin(config, plane, { log, stack });
  },
});
