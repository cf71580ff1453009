import { hash } from 'node:crypto';
import { cidrContains, parseCidr, tryParseIpAddress, type IpAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import type { ObjectReference } from '../../mesh/kubernetes/object.ts';

/** Where VIPs of ServiceEntries come from; istio/istio pilot ipallocate. */
const RANGE = parseCidr('240.240.0.0/16');
const FIRST = 1;
/** Without the network's own and its last address. */
const SIZE = 65_534;

/**
 * Gives each host of each ServiceEntry a VIP. The place is drawn from the name, so that it is the same without any
 * memory; only where two names draw one place does the order count, and that is what is kept.
 */
export class VipAllocator {
  readonly #given = new Map<string, string>();
  readonly #taken = new Set<string>();

  /** @param kept what entries() returned in an earlier life; what cannot be used is left out. */
  constructor(kept: Iterable<readonly [string, string]> = []) {
    for (const [name, address] of kept) {
      const ip = tryParseIpAddress(address);
      if (ip === undefined || !cidrContains(RANGE, ip) || this.#taken.has(ip)) continue;
      this.#given.set(name, ip);
      this.#taken.add(ip);
    }
  }

  /**
   * @param wanted the first of these that is of the range and free is taken, when the host has none yet.
   * @throws {MeshError} ERR_NO_VIP when all 65,534 are in use.
   */
  allocate(entry: ObjectReference, host: string, wanted: readonly string[] = []): string {
    const name = nameOf(entry, host);
    const given = this.#given.get(name);
    if (given !== undefined) return given;
    const free = wanted
      .flatMap((text) => tryParseIpAddress(text) ?? [])
      .find((ip) => this.#isFree(ip));
    if (free !== undefined) return this.#give(name, free);
    if (this.#taken.size >= SIZE)
      throw new MeshError(
        'ERR_NO_VIP',
        'local',
        `Cannot allocate a VIP for ${name}: all are in use`,
      );
    const start = Number.parseInt(hash('sha256', name, 'hex').slice(0, 8), 16);
    for (let step = 0; ; step++) {
      const place = FIRST + ((start + step) % SIZE);
      const address = `240.240.${place >> 8}.${place & 0xff}`;
      if (!this.#taken.has(address)) return this.#give(name, address);
    }
  }

  /** Takes back the VIPs of an entry, but for those of these hosts. */
  release(entry: ObjectReference, except: ReadonlySet<string>): void {
    const prefix = nameOf(entry, '');
    for (const [name, address] of this.#given) {
      if (!name.startsWith(prefix) || except.has(name.slice(prefix.length))) continue;
      this.#given.delete(name);
      this.#taken.delete(address);
    }
  }

  #isFree(ip: IpAddress): boolean {
    return cidrContains(RANGE, ip) && !this.#taken.has(ip);
  }

  #give(name: string, address: string): string {
    this.#given.set(name, address);
    this.#taken.add(address);
    return address;
  }

  /** What must be kept for the next life. */
  entries(): (readonly [string, string])[] {
    return [...this.#given].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

function nameOf(entry: ObjectReference, host: string): string {
  return `${entry.namespace}/${entry.name}/${host}`;
}
