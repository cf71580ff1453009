import type { VirtualService } from '../../../mesh/kubernetes/virtual-service.ts';
import type { Picture } from '../../snapshot.ts';
import type { MeshSettings } from '../settings.ts';
import type { TrafficTarget } from '../traffic-policies.ts';

/** The gateway that stands for all clients inside the mesh. */
export const MESH_GATEWAY = 'mesh';

/** A port of a service that VirtualServices are translated for, as its waypoint sees it. */
export type VirtualTarget = TrafficTarget & Readonly<{ port: number }>;

/** What translation of one VirtualService asks. */
export type VirtualParts = Readonly<{
  picture: Picture;
  settings: MeshSettings;
  virtual: VirtualService;
  target: VirtualTarget;
  /** Something that is not done as it is written, for the status. */
  note: (message: string) => void;
}>;

/** Whether a VirtualService, or a match of it, is for clients inside the mesh. */
export function isForMesh(gateways: readonly string[]): boolean {
  return gateways.length === 0 || gateways.includes(MESH_GATEWAY);
}
