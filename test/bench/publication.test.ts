import test from 'ava';
import { formatPublication } from '../../bench/harness/publication.ts';
import { makeRow } from '../../bench/harness/rows.ts';

test('a published run tells where it ran, its rows, and what is missing', (t) => {
  const page = formatPublication(
    {
      ...{ benchmark: 'l4', startedAt: '2026-01-02T03:04:05.000Z', quiet: true },
      environment: {
        ...{ cpu: 'a processor', cpus: 2, memoryGiB: 24, kernel: '6.1', system: 'Debian' },
        congestionControl: 'cubic',
        ...{ node: 'v26.0.0', openssl: '3.5.0', commit: 'abc', versions: { nginx: '1.22.1' } },
      },
      settings: { rounds: 5 },
      rows: [
        makeRow({
          ...{ metric: 'rate', unit: '1/s', better: 'higher', ours: [90, 100, 110] },
          ...{ peer: { name: 'nginx', values: [100, 125, 150] }, budget: { must: 0.9, aim: 1 } },
        }),
      ],
      failures: [{ question: 'memory', error: 'nobody knows' }],
      notCompared: ['haproxy: it cannot'],
    },
    'npm run bench -- l4',
  );
  t.regex(page, /^# l4, 2026-01-02$/m);
  t.regex(page, /^- 2 cores of a processor, 24 GiB; Debian, Linux 6\.1, TCP cubic$/m);
  t.regex(page, /^- against nginx 1\.22\.1$/m);
  t.regex(
    page,
    /^\| rate \| 100 1\/s \| 125 \| nginx \| 0\.80x \| 0\.90x \| 1\.00x \| .* \| MISSED \|$/m,
  );
  t.regex(page, /^Not measured: memory: nobody knows$/m);
  t.regex(page, /^Not compared: haproxy: it cannot$/m);
});
