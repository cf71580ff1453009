import type { KeyKind } from '../../certs/keys.ts';
import type { TrustDomain } from '../../mesh/model/identity.ts';
import { CertificateAuthority } from './authority.ts';
import { hasPluggedInCa, loadPluggedInCa } from './plugged-in.ts';
import { SelfMadeCa, type RotationStep } from './self-made.ts';

export type OpenAuthorityOptions = Readonly<{
  /** Where a self-made root is kept. */
  caDir: string;
  /** Where somebody else may have put a CA; with any of its files there, no root is made. */
  cacertsDir?: string;
  trustDomain: TrustDomain;
  /** Of a self-made root. */
  keyKind?: KeyKind;
  now?: () => number;
}>;

/** The CA with its way to change: reload() for one that is plugged in, rotate() for one that is self-made. */
export type OpenedAuthority = Readonly<
  | { kind: 'plugged-in'; authority: CertificateAuthority; reload: () => void }
  | {
      kind: 'self-made';
      authority: CertificateAuthority;
      selfMade: SelfMadeCa;
      rotate: (step: RotationStep) => Promise<void>;
    }
>;

/**
 * Opens the mesh's CA.
 *
 * @throws {MeshError} ERR_CA where it is incomplete or does not fit together.
 */
export async function openAuthority(options: OpenAuthorityOptions): Promise<OpenedAuthority> {
  const now = options.now ?? Date.now;
  const { cacertsDir } = options;
  if (cacertsDir !== undefined && hasPluggedInCa(cacertsDir)) {
    const authority = new CertificateAuthority(loadPluggedInCa(cacertsDir, now()), now);
    const reload = (): void => {
      authority.replace(loadPluggedInCa(cacertsDir, now()));
    };
    return { kind: 'plugged-in', authority, reload };
  }
  const kept = { folder: options.caDir, trustDomain: options.trustDomain };
  const kind = options.keyKind === undefined ? {} : { keyKind: options.keyKind };
  const selfMade = await SelfMadeCa.open({ ...kept, ...kind }, now());
  const authority = new CertificateAuthority(selfMade.material(now()), now);
  const rotate = async (step: RotationStep): Promise<void> => {
    authority.replace(await selfMade.rotate(step, now()));
  };
  return { kind: 'self-made', authority, selfMade, rotate };
}
