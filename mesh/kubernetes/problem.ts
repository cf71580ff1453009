/** A path inside an object: field names and list positions. */
export type FieldPath = readonly (string | number)[];

export type Severity = 'error' | 'warning';

/** What is wrong with a document, where, and what to do about it. A value: it is listed, not thrown. */
export type ConfigProblem = Readonly<{
  /** An error refuses the object; a warning lets it pass. */
  severity: Severity;
  file: string;
  /** From 1; 0 when the whole file is meant. */
  line: number;
  column: number;
  /** `Pod shop/web-1`, or '' when the document does not say what it is. */
  object: string;
  /** `spec.rules[0].from`, or '' for the object itself. */
  field: string;
  /** What was found; no final period. */
  message: string;
  /** How to mend it, or ''. */
  mend: string;
}>;

/** Collects what is wrong with one object; the reader of the file knows the places. */
export interface Report {
  error(path: FieldPath, message: string, mend?: string): void;
  warn(path: FieldPath, message: string, mend?: string): void;
}

/** `spec.rules[0].from`; keys that are no plain words are quoted in brackets. */
export function formatFieldPath(path: FieldPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[\w-]{1,128}$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step.slice(0, 128))}]`;
  }
  return text;
}

/** `file:line:column: error: Pod shop/web: spec.x: message; mend`, on one line. */
export function formatProblem(problem: ConfigProblem): string {
  const place =
    problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
  const parts = [place, problem.severity, problem.object, problem.field, problem.message];
  const text = parts.filter((part) => part !== '').join(': ');
  return problem.mend === '' ? text : `${text}; ${problem.mend}`;
}
