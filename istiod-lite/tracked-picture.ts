import { factName } from './facts.ts';
import type { Picture } from './snapshot.ts';

/** A picture that writes down which facts were asked for, so that the answer can be made again when one of them changes. */
export function trackedPicture(picture: Picture, facts: Set<string>): Picture {
  return {
    get: (kind, namespace, name) => {
      facts.add(factName.object(kind, namespace, name));
      return picture.get(kind, namespace, name);
    },
    list: (kind, namespace) => {
      facts.add(factName.kindIn(kind, namespace));
      return picture.list(kind, namespace);
    },
    all: (kind) => {
      facts.add(factName.kind(kind));
      return picture.all(kind);
    },
    slicesOfPod: (namespace, pod) => {
      facts.add(factName.slicesOfPod(namespace, pod));
      return picture.slicesOfPod(namespace, pod);
    },
    entriesOfHost: (host) => {
      facts.add(factName.entriesOfHost(host));
      return picture.entriesOfHost(host);
    },
    podsOfGateway: (namespace, gateway) => {
      facts.add(factName.podsOfGateway(namespace, gateway));
      return picture.podsOfGateway(namespace, gateway);
    },
    selectingPolicies: (namespace) => {
      facts.add(factName.selectingPolicies(namespace));
      return picture.selectingPolicies(namespace);
    },
    routesTo: (kind, namespace, name) => {
      facts.add(factName.routesTo(kind, namespace, name));
      return picture.routesTo(kind, namespace, name);
    },
    virtualServicesTo: (host, namespace) => {
      facts.add(factName.virtualServicesTo(host, namespace));
      return picture.virtualServicesTo(host, namespace);
    },
    routesOf: (kind, namespace, name) => {
      facts.add(factName.routesOf(kind, namespace, name));
      return picture.routesOf(kind, namespace, name);
    },
    routesOfListenerSet: (namespace, name) => {
      facts.add(factName.routesOf('ListenerSet', namespace, name));
      return picture.routesOfListenerSet(namespace, name);
    },
    listenerSetsOf: (namespace, name) => {
      facts.add(factName.listenerSetsOf(namespace, name));
      return picture.listenerSetsOf(namespace, name);
    },
    routesOfGateway: (namespace, name) => {
      facts.add(factName.routesOf('Gateway', namespace, name));
      return picture.routesOfGateway(namespace, name);
    },
    targetingPolicies: (kind, namespace, target) => {
      facts.add(factName.targetingPolicies(kind, namespace, target));
      return picture.targetingPolicies(kind, namespace, target);
    },
    policiesFallingBackTo: (namespace, service) => {
      facts.add(factName.policiesFallingBackTo(namespace, service));
      return picture.policiesFallingBackTo(namespace, service);
    },
    keysOf: (source) => {
      facts.add(factName.keysOf(source));
      return picture.keysOf(source);
    },
  };
}
