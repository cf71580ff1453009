import { runProgram } from '../mesh/runtime/program.ts';
import { startWaypoint } from './app.ts';
import { readWaypointConfig, waypointSettingsHelp } from './config.ts';

await runProgram({
  name: 'waypoint',
  summary:
    'The proxy of a namespace or of services: what is addressed to them comes through it, and L7 policy is enforced here.',
  settingsHelp: waypointSettingsHelp(),
  readConfig: readWaypointConfig,
  start: startWaypoint,
});
