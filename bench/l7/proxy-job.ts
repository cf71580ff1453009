import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startChild, stopChild } from '../harness/child.ts';
import { OwnNetwork } from '../harness/own-network.ts';
import { processTree } from '../harness/processes.ts';
import { Processors } from '../harness/processors.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { readRequests, startHttpServer } from '../l4/http-servers.ts';
import { LoadClient } from '../load/load-client.ts';
import { firstAnswers } from './first-answer.ts';
import type { Job, Subject } from './job.ts';
import { BACKEND_PORTS, portOf, PROXIES } from './proxies.ts';
import { MessageFile, PAGES, WORKS } from './works.ts';

/** A plain reverse proxy on a loopback of its own, without TLS and rules; nginx answers behind all of them. */
export async function startProxyJob(stack: AsyncDisposableStack): Promise<Job> {
  const network = stack.use(await OwnNetwork.start());
  const processors = new Processors();
  let divided = false;
  const enter = (command: readonly string[]): string[] =>
    network.enter(divided ? processors.forOthers(command) : command);
  const server = stack.use(startHttpServer(BACKEND_PORTS, PAGES, enter));
  const client = stack.use(new LoadClient(enter));
  const status = { host: '127.0.0.1', port: BACKEND_PORTS.http1, path: '/status' };
  const subjects: Subject[] = [];
  const job: Omit<Job, 'subjects'> = {
    name: 'proxy',
    notCompared: PROXIES.flatMap((proxy) =>
      WORKS.flatMap((work) => {
        const why = proxy.cannot(work);
        return why === undefined ? [] : [`${proxy.name} as a proxy, ${work.title}: ${why}`];
      }),
    ),
    messageFile: stack.use(new MessageFile()).path,
    enter,
    requests: async () => readRequests(await client.ask('get', status)),
    askAtRate: (ask) => client.ask('requests', ask),
    async place(connections) {
      if (divided === (connections === 1)) return;
      divided = !divided;
      const proxies = subjects.flatMap(({ pids }) => pids);
      const servers = processTree(server.pid);
      if (divided) await processors.divide(proxies, servers);
      else await processors.share([...proxies, ...servers]);
    },
  };
  const folder = stack.use(new TemporaryFolder('proxies')).path;
  for (const proxy of PROXIES) {
    const file = join(folder, proxy.name);
    writeFileSync(file, proxy.configuration(folder));
    const child = startChild(enter(proxy.command(file, folder)));
    stack.defer(() => stopChild(child));
    child.stdout.resume();
    const subject: Subject = { name: proxy.name, pids: [], port: (work) => portOf(proxy, work) };
    await firstAnswers(job, subject);
    subjects.push({ ...subject, pids: child.pid === undefined ? [] : processTree(child.pid) });
  }
  return { ...job, subjects };
}
