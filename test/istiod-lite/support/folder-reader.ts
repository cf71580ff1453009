import { createInterface } from 'node:readline';
import { FolderSource } from '../../../istiod-lite/sources/folder.ts';
import { formatProblem, type ConfigProblem } from '../../../mesh/kubernetes/problem.ts';

// Reads a folder as whatever user it runs as: for each line "look" it answers with one of JSON; "again" begins anew.
const [folder = ''] = process.argv.slice(2);

class Reader {
  readonly names = new Set<string>();
  problems: readonly ConfigProblem[] = [];
  complete = false;
  readonly source = new FolderSource({ folders: [folder], rescanMs: 3_600_000 });

  async look(): Promise<string> {
    await this.source.refresh();
    const problems = this.problems.map((each) => formatProblem(each).replace(/error: .*/, 'error'));
    return JSON.stringify({ names: [...this.names].sort(), problems, complete: this.complete });
  }

  async start(): Promise<this> {
    await this.source.start({
      onChange: ({ upserts, removals }) => {
        for (const key of removals) this.names.delete(key.split('/').at(-1) ?? '');
        for (const { ref } of upserts) this.names.add(ref.name);
      },
      onProblems: (problems) => {
        this.problems = problems;
      },
      onComplete: () => {
        this.complete = true;
      },
    });
    return this;
  }
}

let reader = await new Reader().start();
for await (const line of createInterface(process.stdin)) {
  if (line === 'again') {
    await reader.source[Symbol.asyncDispose]();
    reader = await new Reader().start();
  } else console.log(await reader.look());
}
