import type { ObjectKey } from '../../mesh/kubernetes/object.ts';
import type { ConfigProblem } from '../../mesh/kubernetes/problem.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import type { KeySource } from '../translate/request-authentication.ts';

/** What changed, all of it to be taken at once. */
export type ChangeSet = Readonly<{
  upserts: readonly KubernetesObject[];
  removals: readonly ObjectKey[];
  /** Key sets of issuers that were fetched; `undefined` for one that is believed no longer. */
  keys?: readonly FetchedKeys[];
}>;

export type FetchedKeys = Readonly<{ source: KeySource; keys: string | undefined }>;

export type SourceListener = Readonly<{
  /** Objects changed. The first call brings everything that could be read. */
  onChange: (changes: ChangeSet) => void;
  /** The problems that stand now, all of them, whenever they changed. */
  onProblems: (problems: readonly ConfigProblem[]) => void;
  /**
   * The picture is whole: everything there is has been delivered. Called once; after start() where something could not be
   * read at first. Until then what is missing is not known to be gone.
   */
  onComplete: () => void;
}>;

/** Where configuration comes from: a folder of YAML now, an API server's watch later. */
export interface ConfigSource extends AsyncDisposable {
  /** Resolves when what could be read has been delivered. */
  start(listener: SourceListener): Promise<void>;
  /** Looks again at once; what has changed until now has been delivered when it resolves. */
  refresh(): Promise<void>;
}
