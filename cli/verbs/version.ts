import packageFile from '../../package.json' with { type: 'json' };
import { defineVerb, EXIT, outputOptions } from '../command.ts';
import { printResult } from '../output.ts';

export const version = defineVerb({
  name: 'version',
  group: 'Other',
  summary: 'Print the versions of halo and of what it stands on',
  details: 'Example:\n  halo version -o json',
  options: { ...outputOptions },
  run({ options, terminal }) {
    const value = {
      halo: packageFile.version,
      node: process.versions.node,
      openssl: process.versions.openssl,
    };
    printResult(
      terminal,
      options.output,
      value,
      () => `halo ${value.halo} (Node ${value.node}, OpenSSL ${value.openssl})\n`,
    );
    return Promise.resolve(EXIT.ok);
  },
});
