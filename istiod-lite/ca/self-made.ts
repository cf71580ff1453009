import { createPrivateKey } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errorCode, MeshError } from '../../base/errors.ts';
import { mergeRoots } from '../../certs/bundle.ts';
import { issueRoot, makeSigner } from '../../certs/issue.ts';
import { generateKeyPair, privateKeyPem, type KeyKind } from '../../certs/keys.ts';
import { readCertificate } from '../../certs/x509.ts';
import type { TrustDomain } from '../../mesh/model/identity.ts';
import { makeMaterial, type CaMaterial } from './material.ts';

/** 3,650 days, as istio/istio CITADEL_SELF_SIGNED_CA_CERT_TTL. */
const ROOT_TTL_MS = 3650 * 86_400_000;
/** One file holds all, so that a crash at any point of a rotation leaves a state that makes sense. */
const FILE = 'ca.json';

/** A root with the key that may still sign; `privateKeyPem` is absent once nothing shall be signed with it again. */
type KeptRoot = Readonly<{ certificatePem: string; privateKeyPem?: string }>;

/**
 * signing: signs. next: already trusted, signs after the switch. previous: still trusted, signs no more.
 *
 *   steady --begin--> (signing + next) --switch--> (signing + previous) --finish--> steady
 */
type KeptState = Readonly<{
  version: 1;
  signing: KeptRoot;
  next?: KeptRoot;
  previous?: KeptRoot;
  /** How long the CA has served since the last step. */
  servedMs?: number;
}>;

export type RotationStep = 'begin' | 'switch' | 'finish';
export type RootRole = 'signing' | 'next' | 'previous';
export type RotationPhase = 'steady' | 'begun' | 'switched';

/**
 * A root that the control plane makes itself and keeps in a folder of its own: mode 0700, the file in it 0600. After a
 * restart the same root is used again.
 */
export class SelfMadeCa {
  readonly #folder: string;
  readonly #trustDomain: TrustDomain;
  readonly #keyKind: KeyKind;
  #state: KeptState;

  private constructor(options: SelfMadeOptions, state: KeptState) {
    this.#folder = options.folder;
    this.#trustDomain = options.trustDomain;
    this.#keyKind = options.keyKind ?? 'ec-p256';
    this.#state = state;
  }

  /**
   * Opens the folder's root, or makes one where there is none. An unreadable one is an error: a new root in its place
   * would cut the whole mesh off.
   *
   * @throws {MeshError} ERR_CA
   */
  static async open(options: SelfMadeOptions, nowMs: number): Promise<SelfMadeCa> {
    try {
      makePrivate(options.folder);
    } catch (cause) {
      if (cause instanceof MeshError) throw cause;
      throw stateError(options.folder, 'the folder cannot be made or looked at', cause);
    }
    const kept = readState(join(options.folder, FILE));
    if (kept !== undefined) return new SelfMadeCa(options, kept);
    const signing = await makeRoot(options.trustDomain, options.keyKind ?? 'ec-p256', nowMs);
    const ca = new SelfMadeCa(options, { version: 1, signing });
    try {
      ca.#keep(ca.#state);
    } catch (cause) {
      // One that goes with this process would cut the whole mesh off at its end.
      throw stateError(options.folder, 'a new one cannot be kept there', cause);
    }
    return ca;
  }

  /** @throws {MeshError} ERR_CA, also for a root that has expired. */
  material(nowMs: number): CaMaterial {
    return materialOf(this.#state, nowMs);
  }

  get phase(): RotationPhase {
    if (this.#state.next !== undefined) return 'begun';
    return this.#state.previous === undefined ? 'steady' : 'switched';
  }

  /** When less than a fifth of the signing root's life remains, as istio/istio rotates it. */
  get rotationDueMs(): number {
    const { notAfterMs } = readCertificate(this.#state.signing.certificatePem);
    return notAfterMs - this.lifeMs / 5;
  }

  /** From the beginning to the end of the signing root. */
  get lifeMs(): number {
    const { notBeforeMs, notAfterMs } = readCertificate(this.#state.signing.certificatePem);
    return notAfterMs - notBeforeMs;
  }

  /** How long the CA has served since the last step, as it was told. */
  get servedMs(): number {
    return this.#state.servedMs ?? 0;
  }

  /** Counts time towards the next step; nothing to count while no rotation is under way. */
  addServed(elapsedMs: number): void {
    if (this.phase !== 'steady' && elapsedMs > 0)
      this.#keep({ ...this.#state, servedMs: this.servedMs + elapsedMs });
  }

  /** Every root that is trusted, with what it is for. */
  roots(): readonly Readonly<{ role: RootRole; certificatePem: string }>[] {
    return rootsIn(this.#state);
  }

  /**
   * One step of a rotation, kept on disk before it takes effect. Between two steps every proxy must have fetched a
   * certificate, and with it the bundle: half of the longest lifetime in use.
   *
   * @returns what is signed with from now on.
   * @throws {MeshError} ERR_CA_ROTATION for a step out of order, ERR_CA where its outcome could not be used, as when the clock
   *   was set back to before the new root; then all is as before.
   */
  async rotate(step: RotationStep, nowMs: number): Promise<CaMaterial> {
    const before = this.#state;
    let made: KeptRoot | undefined;
    if (step === 'begin' && this.phase === 'steady') {
      made = await makeRoot(this.#trustDomain, this.#keyKind, nowMs);
      // Of two who asked at once the second one is late.
      if (this.#state !== before) throw outOfOrder(step, this.phase);
    }
    const state = this.#after(step, made);
    const material = materialOf(state, nowMs);
    this.#keep(state);
    return material;
  }

  /** @param made a new root, for the beginning. */
  #after(step: RotationStep, made: KeptRoot | undefined): KeptState {
    const { signing, next } = this.#state;
    if (step === 'begin' && made !== undefined) return { version: 1, signing, next: made };
    if (step === 'switch' && next !== undefined) {
      const previous = { certificatePem: signing.certificatePem };
      return { version: 1, signing: next, previous };
    }
    if (step === 'finish' && this.phase === 'switched') return { version: 1, signing };
    throw outOfOrder(step, this.phase);
  }

  #keep(state: KeptState): void {
    writeAtomically(join(this.#folder, FILE), JSON.stringify(state, undefined, 2));
    this.#state = state;
  }
}

export type SelfMadeOptions = Readonly<{
  /** Ours alone. */
  folder: string;
  trustDomain: TrustDomain;
  keyKind?: KeyKind;
}>;

function materialOf(state: KeptState, nowMs: number): CaMaterial {
  const { certificatePem, privateKeyPem: key = '' } = state.signing;
  const roots = mergeRoots(rootsIn(state).map((root) => root.certificatePem));
  const parts = { certificatePem, privateKeyPem: key, chainPem: '', rootsPem: roots.join('') };
  return makeMaterial(parts, nowMs);
}

function rootsIn(
  state: KeptState,
): readonly Readonly<{ role: RootRole; certificatePem: string }>[] {
  return (['signing', 'next', 'previous'] as const).flatMap((role) => {
    const root = state[role];
    return root === undefined ? [] : [{ role, certificatePem: root.certificatePem }];
  });
}

async function makeRoot(trustDomain: TrustDomain, kind: KeyKind, nowMs: number): Promise<KeptRoot> {
  const keys = await generateKeyPair(kind);
  const { pem } = issueRoot(keys, { trustDomain, ttlMs: ROOT_TTL_MS, nowMs });
  return { certificatePem: pem, privateKeyPem: privateKeyPem(keys.privateKey) };
}

/** Makes the folder for its owner alone; one that others may enter and that holds other things is not ours to change. */
function makePrivate(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const mode = statSync(folder).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  if (readdirSync(folder).some((name) => !name.startsWith(FILE)))
    throw stateError(folder, `others may enter it (mode ${mode.toString(8)}); give the CA its own`);
  chmodSync(folder, 0o700);
}

function readState(path: string): KeptState | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw stateError(path, 'cannot be read', cause);
  }
  const { mode } = statSync(path);
  if ((mode & 0o077) !== 0)
    throw stateError(path, `others may read it (mode ${(mode & 0o777).toString(8)}); chmod 600`);
  try {
    const parsed: unknown = JSON.parse(text);
    return checkState(parsed);
  } catch (cause) {
    // The cause of a failed parse quotes the text, which holds the key.
    throw stateError(path, cause instanceof MeshError ? cause.message : 'it is not what we wrote');
  }
}

function checkState(parsed: unknown): KeptState {
  if (!isRecord(parsed) || parsed['version'] !== 1) throw malformed('version');
  const signing = checkRoot(parsed['signing'], 'signing');
  if (signing.privateKeyPem === undefined) throw malformed('signing');
  makeSigner(signing.certificatePem, createPrivateKey(signing.privateKeyPem));
  return {
    version: 1,
    signing,
    ...('next' in parsed && { next: checkRoot(parsed['next'], 'next') }),
    ...('previous' in parsed && { previous: checkRoot(parsed['previous'], 'previous') }),
    ...('servedMs' in parsed && { servedMs: checkServed(parsed['servedMs']) }),
  };
}

function checkRoot(value: unknown, field: string): KeptRoot {
  if (!isRecord(value)) throw malformed(field);
  const { certificatePem, privateKeyPem: key } = value;
  if (typeof certificatePem !== 'string') throw malformed(field);
  if (key !== undefined && typeof key !== 'string') throw malformed(field);
  return key === undefined ? { certificatePem } : { certificatePem, privateKeyPem: key };
}

function checkServed(value: unknown): number {
  if (typeof value !== 'number' || !(value >= 0)) throw malformed('servedMs');
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function malformed(field: string): MeshError {
  return new MeshError('ERR_CA', 'local', `its field ${field} is not what we wrote`);
}

function outOfOrder(step: RotationStep, phase: RotationPhase): MeshError {
  const message = `Cannot ${step} the rotation of the root: found it ${phase}`;
  return new MeshError('ERR_CA_ROTATION', 'local', message);
}

function stateError(path: string, found: string, cause?: unknown): MeshError {
  const message = `Cannot open the self-made root of ${path}: ${found}`;
  return new MeshError('ERR_CA', 'local', message, { cause });
}

/** The new content is whole on disk before it takes the old one's place. */
function writeAtomically(path: string, text: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder); // the new name, too
  } finally {
    closeSync(folder);
  }
}
