import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

/**
 * Writes a module and all that it imports of the project as CommonJS into a folder, in the same places: jazzer.js
 * instruments what `require` loads, and knows neither types nor ES modules.
 *
 * @returns the path of the module there.
 */
export function compileToCommonJs(root: string, entry: string, folder: string): string {
  writeFileSync(join(folder, 'package.json'), '{"type":"commonjs"}');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const written = new Set<string>();
  const write = (file: string): string => {
    const output = join(folder, relative(root, file)).replace(/\.ts$/, '.js');
    if (written.has(file)) return output;
    written.add(file);
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
    return output;
  };
  return write(entry);
}
