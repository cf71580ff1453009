import type { ExternalAuthorizer, HttpPolicy } from '../../mesh/model/http-policy.ts';
import { ExternalAuthorizerClient } from '../ext-authz.ts';

/** The authorizers that are asked by this thread, each over connections of its own for as long as any policy names it. */
export class AuthorizerClients implements Disposable {
  /** By all that is known of an authorizer: one that has changed is another one. */
  readonly #clients = new Map<string, ExternalAuthorizerClient>();
  readonly #keys = new WeakMap<ExternalAuthorizer, string>();
  readonly #named = new Map<string, ReadonlySet<string>>();

  /** The policies of a target are these now: connections to authorizers that no policy names any more end with their answers. */
  name(target: string, policies: readonly HttpPolicy[]): void {
    const keys = new Set<string>();
    for (const { action } of policies)
      if ('authorizer' in action) keys.add(this.#keyOf(action.authorizer));
    if (keys.size > 0) this.#named.set(target, keys);
    else this.#named.delete(target);
    const wanted = new Set([...this.#named.values()].flatMap((each) => [...each]));
    for (const [key, client] of this.#clients)
      if (!wanted.has(key)) {
        this.#clients.delete(key);
        client[Symbol.dispose]();
      }
  }

  of(authorizer: ExternalAuthorizer): ExternalAuthorizerClient {
    const key = this.#keyOf(authorizer);
    let client = this.#clients.get(key);
    if (client === undefined) {
      client = new ExternalAuthorizerClient(authorizer);
      this.#clients.set(key, client);
    }
    return client;
  }

  /** Authorizers that are connected to. */
  get size(): number {
    return this.#clients.size;
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients.values()) client[Symbol.dispose]();
    this.#clients.clear();
  }

  #keyOf(authorizer: ExternalAuthorizer): string {
    let key = this.#keys.get(authorizer);
    if (key === undefined) this.#keys.set(authorizer, (key = JSON.stringify(authorizer)));
    return key;
  }
}
