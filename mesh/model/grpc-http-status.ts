/** By gRPC status: what it is in HTTP, for whoever judges or answers by that. Envoy: gRPC to HTTP status. */
const HTTP_STATUSES = [
  ...[200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401],
];

/** What is not known is an error of the server. */
export function httpStatusFor(grpcStatus: number): number {
  return HTTP_STATUSES[grpcStatus] ?? 500;
}
