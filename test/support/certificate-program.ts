import { readFileSync } from 'node:fs';
import { CaClient } from '../../certs/ca-client.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';

/*
 * Asks the control plane for a certificate with a node proxy's token: certificate-program.ts ADDRESS ROOTS TOKEN IDENTITY
 * Prints the certificate as JSON, or {"refused": code, "message": text}.
 */

const [address = '', rootsFile = '', tokenFile = '', identity = ''] = process.argv.slice(2);
using client = new CaClient({
  ...{ address, roots: readFileSync(rootsFile, 'utf8'), token: tokenFile },
  ...{ clusterId: 'Kubernetes', ttlSeconds: 3600, impersonate: true },
});
try {
  console.log(JSON.stringify(await client.fetch(parseSpiffeId(identity))));
} catch (error) {
  const { code = '', message } = error as NodeJS.ErrnoException;
  console.log(JSON.stringify({ refused: code, message }));
}
