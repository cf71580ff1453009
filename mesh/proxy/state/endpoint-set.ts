import type { Workload, WorkloadUid } from '../../model/workload.ts';

export type EndpointView = Readonly<{ list: readonly Workload[]; uniform: boolean }>;

/** The endpoints of one service, and what makes choosing among many of them cheap. */
export class EndpointSet {
  readonly #byUid = new Map<WorkloadUid, Workload>();
  #view: EndpointView | undefined;

  get byUid(): ReadonlyMap<WorkloadUid, Workload> {
    return this.#byUid;
  }

  /** All of them by number, and whether they have one capacity; made anew after a change. */
  get view(): EndpointView {
    if (this.#view === undefined) {
      const list = [...this.#byUid.values()];
      this.#view = { list, uniform: list.every(({ capacity }) => capacity === list[0]?.capacity) };
    }
    return this.#view;
  }

  set(workload: Workload): void {
    this.#byUid.set(workload.uid, workload);
    this.#view = undefined;
  }

  delete(uid: WorkloadUid): void {
    this.#byUid.delete(uid);
    this.#view = undefined;
  }
}
