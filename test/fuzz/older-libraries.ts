/**
 * Preloaded before jazzer.js (`node --import`): lets its native part run where the C libraries are older than those that
 * it was linked with. It asks for glibc 2.38 and libstdc++ 3.4.32 because of three names, which older ones have too, or
 * do not need: see docs/decisions/fuzzing.md. Where the libraries are new enough nothing is done.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const TOO_NEW = ['GLIBC_2.38', 'GLIBCXX_3.4.32'];
/** Of C23: `__isoc23_strtol`, which differs from `strtol` in reading binary numbers too. */
const C23_PREFIX = '__isoc23_';
/** Sets up the standard streams, which older libraries do by themselves; here a function without effect takes its place. */
const STREAMS = '_ZSt21ios_base_library_initv';
const WITHOUT_EFFECT = 'getpid';

// The ELF format: types of sections, and sizes and offsets of their entries; see `man 5 elf`.
const DYNAMIC_SYMBOLS = 11;
const VERSIONS = 0x6fffffff;
const NEEDED_VERSIONS = 0x6ffffffe;
const SYMBOL_BYTES = 24;
const WEAK = 2;
const UNVERSIONED = 1;

const load = process.dlopen.bind(process);
process.dlopen = (module: object, filename: string, ...flags: number[]): void => {
  try {
    load(module, filename, ...flags);
  } catch (error) {
    if (!TOO_NEW.some((version) => String(error).includes(version))) throw error;
    using folder = new TemporaryFolder();
    const copy = join(folder.path, 'library.node');
    writeFileSync(copy, rebind(readFileSync(filename)));
    load(module, copy, ...flags);
  }
};

type Section = Readonly<{ type: number; at: number; bytes: number; link: number }>;

/** The library with its needs of those versions made optional, and their names replaced by older ones. */
function rebind(library: Buffer): Buffer {
  const sections = readSections(library);
  const symbols = sectionOf(sections, DYNAMIC_SYMBOLS);
  const versions = sectionOf(sections, VERSIONS);
  const texts = sections[symbols.link]?.at ?? 0;
  const textAt = (offset: number): string =>
    library.toString('latin1', texts + offset, library.indexOf(0, texts + offset));
  const indexes = makeOptional(library, sectionOf(sections, NEEDED_VERSIONS), textAt);

  const count = symbols.bytes / SYMBOL_BYTES;
  const places = Array.from({ length: count }, (_, index) => symbols.at + index * SYMBOL_BYTES);
  const nameOf = (place: number): number => library.readUInt32LE(place);
  const harmless = places.map(nameOf).find((name) => textAt(name) === WITHOUT_EFFECT);
  places.forEach((place, index) => {
    const version = versions.at + index * 2;
    if (!indexes.has(library.readUInt16LE(version) & 0x7fff)) return;
    const name = textAt(nameOf(place));
    if (name.startsWith(C23_PREFIX)) {
      library.writeUInt32LE(nameOf(place) + C23_PREFIX.length, place);
    } else if (name === STREAMS && harmless !== undefined) {
      library.writeUInt32LE(harmless, place);
    } else throw new Error(`Cannot do without ${name} of a newer library`);
    library.writeUInt16LE(UNVERSIONED, version);
  });
  return library;
}

function readSections(library: Buffer): Section[] {
  const at = Number(library.readBigUInt64LE(0x28));
  const bytes = library.readUInt16LE(0x3a);
  return Array.from({ length: library.readUInt16LE(0x3c) }, (_, index) => {
    const header = at + index * bytes;
    return {
      type: library.readUInt32LE(header + 4),
      at: Number(library.readBigUInt64LE(header + 0x18)),
      bytes: Number(library.readBigUInt64LE(header + 0x20)),
      link: library.readUInt32LE(header + 0x28),
    };
  });
}

function sectionOf(sections: readonly Section[], type: number): Section {
  const found = sections.find((section) => section.type === type);
  if (found === undefined) throw new Error(`Cannot read library: no section of type ${type}`);
  return found;
}

/** Marks the versions that are too new as weak; returns their indexes. */
function makeOptional(
  library: Buffer,
  needed: Section,
  textAt: (offset: number) => string,
): ReadonlySet<number> {
  const indexes = new Set<number>();
  for (let file = needed.at, step = 1; step !== 0; file += step) {
    step = library.readUInt32LE(file + 12);
    let version = file + library.readUInt32LE(file + 8);
    for (let left = library.readUInt16LE(file + 2); left > 0; left--) {
      if (TOO_NEW.includes(textAt(library.readUInt32LE(version + 8)))) {
        library.writeUInt16LE(library.readUInt16LE(version + 4) | WEAK, version + 4);
        indexes.add(library.readUInt16LE(version + 6));
      }
      version += library.readUInt32LE(version + 12);
    }
  }
  return indexes;
}
