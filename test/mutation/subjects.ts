/** What is mutated together: sources, and the tests that must notice each change of them. */
export type Subject = Readonly<{ sources: readonly string[]; tests: readonly string[] }>;

/** The code that decides who someone is and what they may do. */
export const SUBJECTS: ReadonlyMap<string, Subject> = new Map([
  [
    'identity',
    { sources: ['mesh/model/identity.ts'], tests: ['test/mesh/model/identity.test.ts'] },
  ],
  [
    'authority',
    { sources: ['mesh/hbone/authority.ts'], tests: ['test/mesh/hbone/authority.test.ts'] },
  ],
  [
    'authorization',
    {
      sources: ['mesh/model/authorization.ts', 'mesh/model/authorize.ts'],
      tests: ['test/mesh/model/authorize.test.ts'],
    },
  ],
  [
    'compiled',
    {
      sources: [
        'mesh/model/compiled-policies.ts',
        'mesh/model/rule-index.ts',
        'mesh/model/policy-values.ts',
      ],
      tests: ['test/mesh/model/compiled-policies.test.ts'],
    },
  ],
  ['issuing', { sources: ['certs/issue.ts'], tests: ['test/certs/issue.test.ts'] }],
  ['requests', { sources: ['certs/csr.ts'], tests: ['test/certs/csr.test.ts'] }],
  [
    'callers',
    {
      sources: ['istiod-lite/ca/authenticate.ts', 'istiod-lite/ca/authorize-request.ts'],
      tests: [
        'test/istiod-lite/ca/authenticate.test.ts',
        'test/istiod-lite/ca/authorize-request.test.ts',
      ],
    },
  ],
]);
