import { describeSettings } from '../../mesh/runtime/env.ts';
import { runProgram } from '../../mesh/runtime/program.ts';
import { startAgent } from './app.ts';
import { agentSettings, readAgentConfig } from './config.ts';

await runProgram({
  name: 'node-agent',
  summary:
    "Enrols the pods of one node: programs their redirection and hands them to the node's proxy.",
  settingsHelp: describeSettings(agentSettings),
  readConfig: readAgentConfig,
  start: startAgent,
});
