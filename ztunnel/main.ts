import { runProgram } from '../mesh/runtime/program.ts';
import { readZtunnelConfig, ztunnelSettingsHelp } from './config.ts';
import { logStart } from './log-start.ts';
import { startDataThreads } from './start-data-threads.ts';

await runProgram({
  name: 'ztunnel',
  summary:
    'The node proxy: carries the traffic of the pods of its node over mTLS, and enforces L4 policy.',
  settingsHelp: ztunnelSettingsHelp(),
  readConfig: readZtunnelConfig,
  async start(context) {
    logStart(context.log, 'configuration read');
    const started = await startDataThreads(context);
    // Loaded only now, beside the threads: clients wait in the queues of a ztunnel that was killed.
    const { startZtunnel } = await import('./app.ts');
    await startZtunnel(context, started);
  },
});
