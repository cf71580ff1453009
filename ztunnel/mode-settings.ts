import { DEFAULT_TRUST_DOMAIN, makeSpiffeId } from '../mesh/model/identity.ts';
import * as env from '../mesh/runtime/env.ts';
import type { ZdsPodInfo } from '../mesh/zds/messages.ts';

/** The one workload of a proxy in dedicated mode. */
export type DedicatedWorkload = ZdsPodInfo;

const MODE = 'PROXY_MODE';
const DEDICATED = 'dedicated';
const WORKLOAD_FORM = '<namespace>/<name>/<service account>';
/** RFC 1123 section 2.1, as Kubernetes has it for names of pods. */
const WORKLOAD_NAME = /^[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?$/;

/** Whom the proxy serves: the pods that a node agent hands over, or one workload beside it in its own namespace. */
export const modeSettings = {
  proxyMode: env.choiceSetting(MODE, ['shared', DEDICATED], {
    description: 'shared: the pods of a node; dedicated: one workload, beside this program',
    default: 'shared',
  }),
  dedicatedWorkload: dedicatedWorkloadSetting(),
  nodeName: nodeNameSetting(),
};

/** Needed in dedicated mode and refused in the other, where it would be believed to have an effect. */
function dedicatedWorkloadSetting(): env.Setting<DedicatedWorkload | undefined> {
  const setting = env.parsedSetting<DedicatedWorkload, undefined>('PROXY_WORKLOAD_INFO', {
    description: `The workload in dedicated mode, which needs it; must not be set in the other`,
    ...{ accepts: WORKLOAD_FORM, default: undefined, parse: parseWorkload },
  });
  return {
    ...setting,
    read(vars) {
      const text = vars[setting.name];
      const isSet = text !== undefined && text !== '';
      if (isDedicated(vars))
        return isSet ? setting.read(vars) : env.refuseUnset(`${WORKLOAD_FORM} in dedicated mode`);
      if (isSet) throw new Error(`set, and only ${MODE}=${DEDICATED} has a use for it; unset it`);
      return undefined;
    },
  };
}

/** Without it, in dedicated mode, the workload is found by its names alone. */
function nodeNameSetting(): env.Setting<string> {
  const name = 'NODE_NAME';
  const description = 'The node whose pods are served; required in shared mode';
  const setting = env.stringSetting(name, { description, default: '' });
  return {
    ...setting,
    read(vars) {
      const value = setting.read(vars);
      return value === '' && !isDedicated(vars) ? env.refuseUnset(setting.accepts) : value;
    },
  };
}

function isDedicated(vars: env.Env): boolean {
  return vars[MODE] === DEDICATED;
}

function parseWorkload(text: string): DedicatedWorkload | undefined {
  const [namespace = '', name = '', serviceAccount = '', ...rest] = text.split('/');
  if (rest.length > 0 || !WORKLOAD_NAME.test(name)) return undefined;
  try {
    makeSpiffeId({ trustDomain: DEFAULT_TRUST_DOMAIN, namespace, serviceAccount });
  } catch {
    return undefined; // what was expected says more than what a SPIFFE id is
  }
  return { name, namespace, serviceAccount };
}
