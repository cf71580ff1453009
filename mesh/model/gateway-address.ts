import type { IpAddress } from '../../base/address.ts';

/** Where a waypoint or network gateway is, by name or by address. */
export type GatewayAddress = Readonly<{
  destination: Readonly<
    | { kind: 'hostname'; namespace: string; hostname: string }
    | { kind: 'address'; network: string; ip: IpAddress }
  >;
  /** 15008 for every gateway that Istio publishes. */
  hboneMtlsPort: number;
}>;
