import { tryParseIpAddress, type IpAddress } from '../base/address.ts';

/**
 * The client that `remote.ip` means (attack A10): the one who dialled us, unless so many proxies before us are trusted
 * to have told of theirs.
 *
 * @param forwardedFor all values of `x-forwarded-for`, `source` behind them.
 * @param trustedProxies how many, the one who dialled us included.
 */
export function remoteAddress(
  forwardedFor: string,
  source: IpAddress,
  trustedProxies: number,
): IpAddress {
  if (trustedProxies === 0) return source;
  const told = forwardedFor.split(',').at(-trustedProxies - 1);
  return (told === undefined ? undefined : tryParseIpAddress(told.trim())) ?? source;
}
