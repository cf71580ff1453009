/** In which profiles of the Gateway API's conformance suite a test counts, and as what; in some tests, none. */
export type Profile =
  | `${'MESH-HTTP' | 'MESH-GRPC'} ${'core' | 'extended'}`
  | 'MESH-HTTP core, MESH-GRPC core'
  | `${'GATEWAY-HTTP' | 'GATEWAY-GRPC' | 'GATEWAY-TLS' | 'GATEWAY-TCP' | 'GATEWAY-UDP'} ${'core' | 'extended'}`
  | `GATEWAY-HTTP, GATEWAY-GRPC, GATEWAY-TLS, GATEWAY-TCP, GATEWAY-UDP ${'core' | 'extended'}`
  | 'none';
