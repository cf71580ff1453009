import { readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import test from 'ava';

const root = resolve(import.meta.dirname, '..');

/** Each layer with those it may import, besides itself. From the bottom up; style: one direction, no cycles. */
const layers: ReadonlyMap<string, readonly string[]> = new Map([
  ['base', []],
  ['net/native', ['base']],
  ['net', ['base', 'net/native']],
  ['mesh/model', ['base']],
  ['mesh/kubernetes', ['base', 'mesh/model']],
  ['mesh/runtime', ['base', 'net', 'mesh/model']],
  ...['mesh/proto', 'mesh/xds', 'mesh/hbone', 'mesh/dns', 'mesh/admin', 'mesh/zds', 'certs'].map(
    (layer): [string, readonly string[]] => [
      layer,
      ['base', 'net', 'mesh/model', 'mesh/runtime', 'mesh/proto'],
    ],
  ),
  [
    'mesh/proxy',
    [
      ...['base', 'net', 'mesh/model', 'mesh/runtime', 'mesh/proto', 'mesh/xds', 'mesh/hbone'],
      ...['mesh/admin', 'certs'],
    ],
  ],
  ...['ztunnel', 'waypoint', 'istiod-lite', 'deploy/sandbox', 'deploy/node-agent'].map(
    (layer): [string, readonly string[]] => [
      layer,
      [
        ...['base', 'net', 'mesh/model', 'mesh/kubernetes', 'mesh/runtime', 'mesh/proto'],
        ...['mesh/xds', 'mesh/hbone', 'mesh/dns', 'mesh/admin', 'mesh/zds', 'mesh/proxy', 'certs'],
      ],
    ],
  ),
]);
const above = ['cli', 'test', 'bench'];

function layerOf(file: string): string | undefined {
  const path = relative(root, file);
  const known = [...layers.keys(), ...above, 'deploy'];
  return known
    .filter((layer) => path.startsWith(`${layer}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name !== 'node_modules' && !name.startsWith('.'))
    .map((name) => join(folder, name))
    .flatMap((path) =>
      statSync(path).isDirectory() ? sourceFiles(path) : path.endsWith('.ts') ? [path] : [],
    );
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const specifiers = text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g);
  return [...specifiers].map(([, path = '']) => resolve(dirname(file), path));
}

const files = sourceFiles(root);

test('every import goes down the layers', (t) => {
  const steps = files.flatMap((file) => {
    const from = layerOf(file);
    const allowed = from === undefined ? undefined : layers.get(from);
    if (allowed === undefined) return []; // cli, test and bench stand above all
    return importsOf(file)
      .filter((to) => {
        const layer = layerOf(to);
        return layer !== from && (layer === undefined || !allowed.includes(layer));
      })
      .map((to) => `${relative(root, file)} imports ${relative(root, to)}`);
  });
  t.deepEqual(steps, []);
});

test('no import cycle', (t) => {
  const graph = new Map(files.map((file) => [file, importsOf(file)]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      const cycle = [...path.slice(path.indexOf(file)), file];
      cycles.push(cycle.map((step) => relative(root, step)).join(' -> '));
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  t.deepEqual(cycles, []);
});

test('only net/native imports node:ffi', (t) => {
  const users = files
    .filter((file) => /^import .*'node:ffi'/m.test(readFileSync(file, 'utf8')))
    .map((file) => relative(root, file))
    .filter((path) => !path.startsWith('net/native/'));
  t.deepEqual(users, []);
});

test('every source file belongs to a layer', (t) => {
  const strays = files
    .filter((file) => layerOf(file) === undefined)
    .map((file) => relative(root, file));
  t.deepEqual(strays, []);
});
