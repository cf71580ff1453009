import { FolderSource } from '../../../istiod-lite/sources/folder.ts';
import type { LastGood } from '../../../istiod-lite/sources/last-good.ts';
import type { ChangeSet } from '../../../istiod-lite/sources/source.ts';
import { formatProblem, type ConfigProblem } from '../../../mesh/kubernetes/problem.ts';

/** A ConfigMap that says which version it is. */
export const configMapYaml = (name: string, label = 'a'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, labels: { v: ${label} } }\n`;

/** A source whose events can be awaited. */
export class WatchedFolders implements AsyncDisposable {
  readonly source: FolderSource;
  readonly troubles: string[] = [];
  complete = false;
  readonly #changes: ChangeSet[] = [];
  #problems: (readonly ConfigProblem[])[] = [];
  #wake: (() => void) | undefined;

  constructor(
    folders: readonly string[],
    options: Readonly<{ rescanMs?: number; quietMs?: number; lastGood?: LastGood }> = {},
  ) {
    this.source = new FolderSource({
      ...{ folders, rescanMs: 3_600_000, ...options },
      onTrouble: (message) => this.troubles.push(message),
    });
  }

  async start(): Promise<this> {
    await this.source.start({
      onChange: (changes) => {
        this.#changes.push(changes);
        this.#wake?.();
      },
      onProblems: (problems) => {
        this.#problems.push(problems);
        this.#wake?.();
      },
      onComplete: () => {
        this.complete = true;
        this.#wake?.();
      },
    });
    return this;
  }

  /** The next change, as `+name=label` and `-name`. */
  async change(): Promise<string[]> {
    while (this.#changes.length === 0) await this.#event();
    const { upserts = [], removals = [] } = this.#changes.shift() ?? {};
    return [
      ...upserts.map(({ ref, metadata }) => `+${ref.name}=${metadata.labels.get('v') ?? ''}`),
      ...removals.map((key) => `-${key.split('/').at(-1) ?? ''}`),
    ].sort();
  }

  async problems(): Promise<string[]> {
    while (this.#problems.length === 0) await this.#event();
    const [latest = []] = this.#problems.splice(0).slice(-1);
    return latest.map(formatProblem);
  }

  async whole(): Promise<void> {
    while (!this.complete) await this.#event();
  }

  get quiet(): boolean {
    return this.#changes.length === 0 && this.#problems.length === 0;
  }

  async #event(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
  }
}
