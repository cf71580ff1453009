import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '../base/errors.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import { GATEWAY_GROUP } from '../mesh/kubernetes/route-references.ts';
import type { Condition, PolicyAncestorStatus, RouteParentStatus } from './translate/settings.ts';
import type { ObjectStatus } from './translate/translator.ts';

/** What must outlive a restart: revisions go on counting, and VIPs stay. */
export type KeptState = Readonly<{
  revision: number;
  vips: readonly (readonly [string, string])[];
}>;

const STATUS_FILE = 'status.json';
const STATE_FILE = 'state.json';
/** Changes within this time are written once. */
const JOIN_MS = 50;

/** Writes the conditions of objects for those who show them, and keeps what a restart needs. */
export class StatusFiles implements Disposable {
  readonly #folder: string | undefined;
  readonly #log: Logger;
  readonly #take: () => Readonly<{ statuses: Iterable<ObjectStatus>; state: KeptState }>;
  #timer: NodeJS.Timeout | undefined;

  /** @param folder absent: nothing is written. */
  constructor(
    folder: string | undefined,
    log: Logger,
    take: () => Readonly<{ statuses: Iterable<ObjectStatus>; state: KeptState }>,
  ) {
    this.#folder = folder;
    this.#log = log;
    this.#take = take;
    try {
      if (folder !== undefined) mkdirSync(folder, { recursive: true });
    } catch (error) {
      log.error('cannot make the folder of status', { error: describeError(error) });
    }
  }

  /** Writes soon. */
  touch(): void {
    if (this.#folder === undefined) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, JOIN_MS);
  }

  [Symbol.dispose](): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#write();
  }

  #write(): void {
    if (this.#folder === undefined) return;
    const { statuses, state } = this.#take();
    const objects = [...statuses].map(plainStatus);
    try {
      writeWhole(join(this.#folder, STATE_FILE), JSON.stringify(state));
      writeWhole(
        join(this.#folder, STATUS_FILE),
        `${JSON.stringify({ revision: state.revision, objects }, null, 1)}\n`,
      );
    } catch (error) {
      // The mesh goes on without: status is for people.
      this.#log.error('cannot write status', { error: describeError(error) });
    }
  }
}

function plainStatus(status: ObjectStatus): unknown {
  const { ref, generation, conditions, parents, ancestors, vips, gateway } = status;
  return {
    ...ref,
    conditions:
      ref.group === GATEWAY_GROUP
        ? conditions.map((each) => observedAt(each, generation))
        : conditions,
    ...(parents.length === 0 ? {} : { parents: parents.map(plainParent) }),
    ...(ancestors.length === 0 ? {} : { ancestors: ancestors.map(plainParent) }),
    addresses: gateway?.addresses ?? [...vips].map(([host, value]) => ({ host, value })),
    ...(gateway && {
      listeners: gateway.listeners.map((each) => withGeneration(each, generation)),
    }),
  };
}

type Observed = Readonly<{ conditions: readonly Condition[] }>;

function plainParent({
  observedGeneration,
  ...rest
}: RouteParentStatus | PolicyAncestorStatus): unknown {
  return withGeneration(rest, observedGeneration);
}

/** In the form of the Gateway API: every condition has the generation. */
function withGeneration(told: Observed, generation: number): unknown {
  return { ...told, conditions: told.conditions.map((each) => observedAt(each, generation)) };
}

function observedAt(told: Condition, observedGeneration: number): unknown {
  return { ...told, observedGeneration };
}

/** What an earlier life kept; nothing when there is none, or when it cannot be read. */
export function readKeptState(folder: string | undefined): KeptState {
  const nothing: KeptState = { revision: 0, vips: [] };
  if (folder === undefined) return nothing;
  try {
    const kept: unknown = JSON.parse(readFileSync(join(folder, STATE_FILE), 'utf8'));
    if (typeof kept !== 'object' || kept === null) return nothing;
    const revision = 'revision' in kept && Number.isSafeInteger(kept.revision) ? kept.revision : 0;
    const vips: unknown = 'vips' in kept ? kept.vips : [];
    return {
      revision: typeof revision === 'number' ? Math.max(0, revision) : 0,
      vips: Array.isArray(vips) ? vips.filter(isPair) : [],
    };
  } catch {
    return nothing;
  }
}

/** Replaces a file so that a reader sees the old text or the new one. */
export function writeWhole(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

function isPair(value: unknown): value is readonly [string, string] {
  return (
    Array.isArray(value) && value.length === 2 && value.every((item) => typeof item === 'string')
  );
}
