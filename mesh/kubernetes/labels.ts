/** Every label and annotation that the mesh reads or writes, under the names that Istio, Kubernetes and the Gateway API gave them. */

// Enrolment and capture.
/** Label of a Namespace or Pod: `ambient` or `none`. Read by the node agent alone. */
export const DATAPLANE_MODE = 'istio.io/dataplane-mode';
export const DATAPLANE_MODE_AMBIENT = 'ambient';
export const DATAPLANE_MODE_NONE = 'none';
/** Annotation that the node agent writes: `enabled` or `pending`. */
export const AMBIENT_REDIRECTION = 'ambient.istio.io/redirection';
export const AMBIENT_REDIRECTION_ENABLED = 'enabled';
export const AMBIENT_REDIRECTION_PENDING = 'pending';
export const BYPASS_INBOUND_CAPTURE = 'ambient.istio.io/bypass-inbound-capture';
export const DNS_CAPTURE = 'ambient.istio.io/dns-capture';
export const REROUTE_VIRTUAL_INTERFACES = 'istio.io/reroute-virtual-interfaces';
/** Label: `http` says that the workload speaks HBONE itself. */
export const TUNNEL = 'networking.istio.io/tunnel';
export const TUNNEL_HTTP = 'http';
/** Annotation: the pod has a sidecar. */
export const SIDECAR_STATUS = 'sidecar.istio.io/status';

// Waypoints.
export const USE_WAYPOINT = 'istio.io/use-waypoint';
export const USE_WAYPOINT_NONE = 'none';
export const USE_WAYPOINT_NAMESPACE = 'istio.io/use-waypoint-namespace';
export const USE_WAYPOINT_CANARY = 'istio.io/use-waypoint-canary';
export const USE_WAYPOINT_CANARY_NAMESPACE = 'istio.io/use-waypoint-canary-namespace';
/** Annotation, 0 to 100. */
export const USE_WAYPOINT_CANARY_WEIGHT = 'istio.io/use-waypoint-canary-weight';
/** Label of a Gateway or GatewayClass: `service`, `workload`, `all` or `none`. */
export const WAYPOINT_FOR = 'istio.io/waypoint-for';
export const INGRESS_USE_WAYPOINT = 'istio.io/ingress-use-waypoint';
/** Annotation of a Gateway or GatewayClass: `NONE` or `PROXY`, with an optional `/port`. */
export const WAYPOINT_INBOUND_BINDING = 'ambient.istio.io/waypoint-inbound-binding';
/** Annotation of a Gateway or GatewayClass: `true` has a waypoint tell back ends who the client is. */
export const XFCC_CLIENT_IDENTITY = 'ambient.istio.io/xfcc-include-client-identity';
/** Annotation of a Gateway or GatewayClass: `true` lets fields through whose names hold `_`. */
export const ALLOW_HEADER_UNDERSCORES = 'halo.dev/allow-header-underscores';
/** Annotation of a Gateway: the service accounts, comma separated, whose pods use this waypoint. */
export const FOR_SERVICE_ACCOUNT = 'istio.io/for-service-account';
/** Annotation of a Service or Namespace: `true` sends traffic direct while the waypoint cannot be used. */
export const WAYPOINT_FAIL_OPEN = 'halo.dev/waypoint-fail-open';

/** Label: which revision of the control plane acts on an object. */
export const REVISION = 'istio.io/rev';

// Topology, traffic, policy.
export const TOPOLOGY_NETWORK = 'topology.istio.io/network';
export const TOPOLOGY_REGION = 'topology.kubernetes.io/region';
export const TOPOLOGY_ZONE = 'topology.kubernetes.io/zone';
export const TOPOLOGY_SUBZONE = 'topology.istio.io/subzone';
export const TRAFFIC_DISTRIBUTION = 'networking.istio.io/traffic-distribution';
export const ENABLE_AUTOALLOCATE_IP = 'networking.istio.io/enable-autoallocate-ip';
export const CANONICAL_NAME = 'service.istio.io/canonical-name';
export const CANONICAL_REVISION = 'service.istio.io/canonical-revision';
export const WORKLOAD_NAME = 'service.istio.io/workload-name';
export const APP_NAME = 'app.kubernetes.io/name';
export const APP_VERSION = 'app.kubernetes.io/version';
export const APP = 'app';
export const VERSION = 'version';
export const DRY_RUN = 'istio.io/dry-run';

// Kubernetes' own.
export const NAMESPACE_NAME = 'kubernetes.io/metadata.name';
export const POD_TEMPLATE_HASH = 'pod-template-hash';
/** Label of an EndpointSlice: the Service that it belongs to. */
export const SLICE_SERVICE_NAME = 'kubernetes.io/service-name';

// Gateways, and the objects that are generated for them.
export const WAYPOINT_CLASS = 'istio-waypoint';
/** `spec.controllerName` of that class: whoever has this name acts on its Gateways. */
export const WAYPOINT_CONTROLLER = 'istio.io/mesh-controller';
export const INGRESS_CLASS = 'istio';
/** `spec.controllerName` of that class, and of others whose Gateways are such gateways too. */
export const INGRESS_CONTROLLER = 'istio.io/gateway-controller';
/** Annotation of a gateway's Gateway: the type of its Service. */
export const SERVICE_TYPE = 'networking.istio.io/service-type';
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';
export const GATEWAY_CLASS_NAME = 'gateway.networking.k8s.io/gateway-class-name';
export const GATEWAY_MANAGED = 'gateway.istio.io/managed';
export const GATEWAY_MANAGED_MESH = 'istio.io-mesh-controller';
export const GATEWAY_MANAGED_INGRESS = 'istio.io-gateway-controller';
export const GATEWAY_MANAGED_EAST_WEST = 'istio.io-eastwest-controller';
/** Label of a ConfigMap in the root namespace: the class whose Gateways' objects it changes. */
export const GATEWAY_CLASS_DEFAULTS = 'gateway.istio.io/defaults-for-class';
