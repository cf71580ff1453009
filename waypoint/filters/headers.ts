import { MeshError } from '../../base/errors.ts';
import { headerChangesProblem } from '../../mesh/model/header-changes.ts';
import type { HeaderChanges, HeaderField } from '../../mesh/model/http-filter.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { HeaderEdit, setAuthority } from './header-edit.ts';

/** Changes that may be made, in the form of header lists. */
export type CheckedHeaderChanges = Readonly<{
  authority: string | undefined;
  set: readonly HeaderField[];
  add: readonly HeaderField[];
  remove: readonly string[];
}>;

/** @throws {MeshError} ERR_HEADER_CHANGE for a field that no rule may touch, or a value that is none. */
export function checkHeaderChanges(
  changes: HeaderChanges,
  of: 'request' | 'response',
): CheckedHeaderChanges {
  const problem = headerChangesProblem(changes, of);
  if (problem !== undefined)
    throw new MeshError('ERR_HEADER_CHANGE', 'local', `Cannot change headers: ${problem}`);
  const isAuthority = ({ name }: HeaderField): boolean => name === 'host' || name === ':authority';
  return {
    authority: changes.set.find(isAuthority)?.value,
    set: changes.set.filter((field) => !isAuthority(field)).map(toWire),
    add: changes.add.map(toWire),
    remove: changes.remove,
  };
}

function toWire({ name, value }: HeaderField): HeaderField {
  return { name, value: wireText(value) };
}

/** Set, then add, then remove. @returns the same list when nothing changes. */
export function changeHeaders(headers: HeaderList, changes: CheckedHeaderChanges): HeaderList {
  const edit = new HeaderEdit(headers);
  if (changes.authority !== undefined) setAuthority(edit, changes.authority);
  for (const { name, value } of changes.set) edit.set(name, value);
  for (const { name, value } of changes.add) edit.add(name, value);
  for (const name of changes.remove) edit.remove(name);
  return edit.headers;
}
