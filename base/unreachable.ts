/**
 * The default of an exhaustive switch: a new case of the union then fails to compile here.
 *
 * @throws {Error} always, for a value that escaped the type checker.
 */
export function unreachable(value: never): never {
  throw new Error(`Unreachable case: ${JSON.stringify(value)}`);
}
