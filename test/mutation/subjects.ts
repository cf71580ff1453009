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
        'mesh/model/policy-scope.ts',
        'mesh/model/rule-index.ts',
        'mesh/model/policy-values.ts',
        'mesh/model/value-tables.ts',
      ],
      tests: ['test/mesh/model/compiled-policies.test.ts'],
    },
  ],
  [
    'http-policies',
    {
      sources: [
        'mesh/model/compiled-http-policies.ts',
        'mesh/model/http-policy.ts',
        'mesh/model/http-policy-values.ts',
        'mesh/model/path-template.ts',
        'mesh/model/template-table.ts',
        'istiod-lite/translate/http-policies.ts',
      ],
      tests: ['test/waypoint/authorize.test.ts', 'test/waypoint/http-policy-model.test.ts'],
    },
  ],
  [
    'paths',
    {
      sources: ['waypoint/normalize-path.ts', 'mesh/model/percent-encoding.ts'],
      tests: ['test/waypoint/normalize-path.test.ts'],
    },
  ],
  [
    'heads',
    {
      sources: ['waypoint/request-headers.ts'],
      tests: ['test/waypoint/request-headers.test.ts'],
    },
  ],
  [
    'tokens',
    {
      sources: [
        ...['waypoint/jwt.ts', 'waypoint/jwt-parts.ts', 'waypoint/jwt-places.ts'],
        'waypoint/jwt-request.ts',
      ],
      tests: ['test/waypoint/jwt.test.ts'],
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
