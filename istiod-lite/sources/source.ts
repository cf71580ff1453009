import type { ObjectKey } from '../../mesh/kubernetes/object.ts';
import type { ConfigProblem } from '../../mesh/kubernetes/problem.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';

/** What changed, all of it to be taken at once. */
export type ChangeSet = Readonly<{
  upserts: readonly KubernetesObject[];
  removals: readonly ObjectKey[];
}>;

export type SourceListener = Readonly<{
  /** Objects changed. The first call, before start() resolves, brings everything there is. */
  onChange: (changes: ChangeSet) => void;
  /** The problems that stand now, all of them, whenever they changed. */
  onProblems: (problems: readonly ConfigProblem[]) => void;
}>;

/** Where configuration comes from: a folder of YAML now, an API server's watch later. */
export interface ConfigSource extends AsyncDisposable {
  /** Resolves when the first whole picture has been delivered. */
  start(listener: SourceListener): Promise<void>;
  /** Looks again at once; what has changed until now has been delivered when it resolves. */
  refresh(): Promise<void>;
}
