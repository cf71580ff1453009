/*
 * Loaded into ava's own process before it. Its TAP reporter expects errors in the form in which test processes send
 * them, but makes those of a timeout or an early exit itself (8.0.0): without this it breaks off and nobody learns
 * which tests hung. Test processes, which inherit the option, are left alone.
 */
const isRunner = process.send === undefined;

if (isRunner) {
  Object.defineProperty(Error.prototype, 'originalError', {
    get(this: Error) {
      return this;
    },
  });
  Object.defineProperty(Error.prototype, 'formattedDetails', { value: [] });
}
