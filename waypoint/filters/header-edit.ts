import type { HeaderList } from '../../net/h2/headers.ts';

/**
 * Changes of a header list. The list that came is never written to: the first real change copies it, and where nothing
 * changes it is handed back as it was.
 */
export class HeaderEdit {
  readonly #original: HeaderList;
  #copy: string[] | undefined;

  constructor(original: HeaderList) {
    this.#original = original;
  }

  get headers(): HeaderList {
    return this.#copy ?? this.#original;
  }

  /** One field of that name, where the first one was, or at the end. */
  set(name: string, value: string): void {
    const first = this.#indexOf(name, 0);
    if (first < 0) {
      this.#writable().push(name, value);
      return;
    }
    if (this.headers[first + 1] !== value) this.#writable()[first + 1] = value;
    this.#removeFrom(name, first + 2);
  }

  /** Joins the value to the last field of that name by a comma; cookies that are set cannot be joined. RFC 6265 section 3. */
  add(name: string, value: string): void {
    let last = -1;
    for (let at = this.#indexOf(name, 0); at >= 0; at = this.#indexOf(name, at + 2)) last = at;
    const writable = this.#writable();
    const old = writable[last + 1] ?? '';
    if (last < 0 || name === 'set-cookie') writable.push(name, value);
    else if (name === 'cookie') writable[last + 1] = `${old}; ${value}`;
    else writable[last + 1] = old === '' ? value : `${old},${value}`;
  }

  remove(name: string): void {
    this.#removeFrom(name, 0);
  }

  /** The pseudo-header field of that name; where it was missing, before all others. */
  setPseudo(name: ':authority' | ':path', value: string): void {
    if (this.#indexOf(name, 0) < 0) this.#writable().unshift(name, value);
    else this.set(name, value);
  }

  #indexOf(name: string, from: number): number {
    const { headers } = this;
    for (let index = from; index < headers.length; index += 2)
      if (headers[index] === name) return index;
    return -1;
  }

  #removeFrom(name: string, from: number): void {
    for (let at = this.#indexOf(name, from); at >= 0; at = this.#indexOf(name, at))
      this.#writable().splice(at, 2);
  }

  #writable(): string[] {
    return (this.#copy ??= [...this.#original]);
  }
}

/** Sends a request to another host: whatever named it before is gone. */
export function setAuthority(edit: HeaderEdit, authority: string): void {
  edit.setPseudo(':authority', authority);
  edit.remove('host');
}
