import type { BackendTarget, Fraction } from '../../mesh/model/http-filter.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { headerValue } from '../match/header-value.ts';
import { HeaderEdit, setAuthority } from './header-edit.ts';
import { isOfShare } from './share.ts';

export type Mirror = Readonly<{ backend: BackendTarget; share: Fraction }>;

const NOWHERE: readonly BackendTarget[] = [];

/** Where copies of one request go. @param random gives numbers from 0 to below 1, one for each mirror. */
export function chooseMirrors(
  mirrors: readonly Mirror[],
  random: () => number,
): readonly BackendTarget[] {
  if (mirrors.length === 0) return NOWHERE;
  return mirrors.filter(({ share }) => isOfShare(share, random())).map(({ backend }) => backend);
}

/** The head of a copy: its host says that it is one, as Envoy does, with `-shadow` before the port. */
export function mirrorHeaders(headers: HeaderList): HeaderList {
  const authority = headerValue(headers, ':authority');
  if (authority === undefined) return headers;
  const edit = new HeaderEdit(headers);
  setAuthority(edit, authority.replace(/(:\d+)?$/, '-shadow$1'));
  return edit.headers;
}
