/** HTTP statuses by gRPC's codes, 0 to 16, as Envoy judges endpoints by them. */
const STATUSES = [
  ...[200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401],
];

/** What a gRPC status counts as where answers are judged by HTTP's; one that is not known is an error of the server. */
export function grpcAsHttpStatus(code: number): number {
  return STATUSES[code] ?? 500;
}
