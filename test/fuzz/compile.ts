import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

/**
 * Writes modules and all that they import of the project as CommonJS into a folder, in the same places: jazzer.js
 * instruments what `require` loads, and knows neither types nor ES modules.
 *
 * @param modules paths below `root`.
 */
export function compileToCommonJs(root: string, modules: readonly string[], folder: string): void {
  writeFileSync(join(folder, 'package.json'), '{"type":"commonjs"}');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const written = new Set<string>();
  const write = (file: string): void => {
    if (written.has(file)) return;
    written.add(file);
    const output = join(folder, relative(root, file)).replace(/\.ts$/, '.js');
    const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
      fileName: file,
      compilerOptions: {
        module: ts.ModuleKind.CommonJS,
        // The parser of the instrumentation does not know `using` yet.
        target: ts.ScriptTarget.ES2022,
        rewriteRelativeImportExtensions: true,
        inlineSourceMap: true,
      },
    });
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
    for (const [, path = ''] of outputText.matchAll(/require\("(\.[^"]+)\.js"\)/g))
      write(resolve(dirname(file), `${path}.ts`));
  };
  for (const module of modules) write(join(root, module));
}
