import type { VerbGroup } from './command.ts';
import { describeExitCodes } from './help.ts';
import { apply } from './verbs/apply.ts';
import { check } from './verbs/check.ts';
import { completeVerb } from './verbs/complete.ts';
import { completion } from './verbs/completion.ts';
import { cost } from './verbs/cost.ts';
import { deleteObjects } from './verbs/delete.ts';
import { down } from './verbs/down.ts';
import { exec } from './verbs/exec.ts';
import { explain } from './verbs/explain.ts';
import { get } from './verbs/get.ts';
import { helpVerb } from './verbs/help.ts';
import { label } from './verbs/label.ts';
import { logs } from './verbs/logs.ts';
import { portForward } from './verbs/port-forward.ts';
import { rollout } from './verbs/rollout.ts';
import { scale } from './verbs/scale.ts';
import { status } from './verbs/status.ts';
import { tap } from './verbs/tap.ts';
import { up } from './verbs/up.ts';
import { version } from './verbs/version.ts';
import { wait } from './verbs/wait.ts';
import { waypoint } from './verbs/waypoint.ts';
import { ztunnel } from './verbs/ztunnel.ts';

/** Every verb of halo, in the order in which `halo help` lists them. */
export const halo: VerbGroup = {
  name: 'halo',
  summary: 'halo runs a sidecarless service mesh on this machine, and looks into it.',
  commands: [
    up,
    down,
    status,
    wait,
    apply,
    deleteObjects,
    get,
    label,
    scale,
    rollout,
    waypoint,
    logs,
    exec,
    portForward,
    explain,
    tap,
    check,
    cost,
    ztunnel,
    completion,
    version,
    helpVerb(() => halo),
    completeVerb(() => halo),
  ],
  details: describeExitCodes(),
};
