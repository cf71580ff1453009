import type { DemoMesh } from './mesh.ts';
import type { Report } from './report.ts';

/** A part of the demo: what is done, and what must be seen then. */
export type Step = Readonly<{ title: string; run(mesh: DemoMesh, report: Report): Promise<void> }>;
