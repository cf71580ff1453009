import { readdirSync, readFileSync } from 'node:fs';
import type { Metrics } from './metrics.ts';

/** Adds what Prometheus clients tell of every process; for the control thread alone. */
export function addProcessMetrics(metrics: Metrics): void {
  const openFds = metrics.gauge('process_open_fds', 'Open file descriptors').cell();
  const maxFds = metrics.gauge('process_max_fds', 'Limit of open file descriptors').cell();
  const resident = metrics.gauge('process_resident_memory_bytes', 'Resident memory').cell();
  const heap = metrics.gauge('nodejs_heap_size_used_bytes', 'Used heap of this thread').cell();
  const cpu = metrics
    .counter('process_cpu_seconds_total', 'Processor time, user and system')
    .cell();
  const start = metrics.gauge('process_start_time_seconds', 'Start, since the epoch').cell();
  start.value = Math.round(Date.now() / 1000 - process.uptime());
  metrics.onCollect(() => {
    openFds.value = countOpenFds();
    maxFds.value = readMaxFds();
    const memory = process.memoryUsage();
    resident.value = memory.rss;
    heap.value = memory.heapUsed;
    const { user, system } = process.cpuUsage();
    cpu.value = (user + system) / 1e6;
  });
}

/** Adds what tells which program this is, as Istio's have it. */
export function addBuildMetric(metrics: Metrics, component: string, version: string): void {
  const labelNames = ['component', 'tag'];
  metrics
    .gauge('istio_build', 'Always 1; its labels tell the build', { labelNames })
    .cell(component, version).value = 1;
}

function countOpenFds(): number {
  try {
    return readdirSync('/proc/self/fd').length - 1; // without the one that lists them
  } catch {
    return NaN; // no /proc here, or no descriptor left to read it with
  }
}

/** The soft limit of proc_pid_limits(5). */
function readMaxFds(): number {
  try {
    const [, soft] =
      /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return Number(soft);
  } catch {
    return NaN;
  }
}
