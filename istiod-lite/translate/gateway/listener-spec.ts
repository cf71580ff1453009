import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';

/** A listener as it is written. */
export type ListenerSpec = Gateway['spec']['listeners'][number];

/** What is wrong with a listener, with upstream's reason. */
export type ListenerFlaw = Readonly<{ reason: string; message: string }>;
