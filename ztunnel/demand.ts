import type { DemandedKey } from '../mesh/proxy/dump-state.ts';
import type { AnsweredKeys, DemandKey } from '../mesh/proxy/state/answered.ts';

/**
 * Answered keys that one account keeps: its oldest is let go for a new one, and asked for again when it is used again.
 * Few pods talk to so many addresses. A key takes some 670 bytes in both threads together, so 110 pods (the kubelet's
 * default) that all scan, and are all scanned, make us hold 150 MB.
 */
export const MAX_ACCOUNT_KEYS = 1024;
/** Keys that one account may be waiting for; beyond them nothing more is asked for. While the control plane is away none is answered. */
export const MAX_PENDING_KEYS = 256;

/**
 * Who makes us ask: the connections that a pod opens, or those that others open to it. Apart, so that strangers cannot
 * push out what the pod itself uses.
 */
export type DemandAccount = Readonly<{ podUid: string; side: 'outbound' | 'inbound' }>;

/** The way to the control plane. */
export type DemandLink = Readonly<{
  /** Settles when the control plane has answered for the key, and what it said is in the state. */
  demand: (key: DemandKey) => Promise<unknown>;
  /** Nobody here relies on the key any more. */
  release: (key: DemandKey) => void;
}>;

type Account = Readonly<{
  name: string;
  podUid: string;
  pending: Set<Entry>;
  /** The one that was used last comes last. */
  answered: Set<Entry>;
}>;

type Entry = {
  readonly key: DemandKey;
  /** Few, mostly one: an array is a fifth of a set. */
  readonly accounts: Account[];
  /** To be told whether it was answered; false when it was given up. None once that is known. */
  waiters: Set<(answered: boolean) => void> | undefined;
  answered: boolean;
};

/**
 * What this thread has asked the control plane for: each key once, however many connections wait for it, and a bounded
 * number of keys for each pod.
 */
export class Demand {
  readonly #link: DemandLink;
  readonly #entries = new Map<DemandKey, Entry>();
  readonly #accounts = new Map<string, Account>();

  constructor(link: DemandLink) {
    this.#link = link;
  }

  /** For the state that decisions are made with. */
  get answered(): AnsweredKeys {
    return { has: (key) => this.#entries.get(key)?.answered === true };
  }

  /**
   * Asks for a key.
   *
   * @returns whether the control plane has answered: false when the signal aborted first, or the account waits for too
   *   many already. Then nothing is known, and nothing may be concluded.
   */
  async ask(owner: DemandAccount, key: DemandKey, signal: AbortSignal): Promise<boolean> {
    const entry = this.#enter(this.#account(owner), key);
    if (entry === undefined || signal.aborted) return false;
    if (entry.answered) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const onAbort = (): void => {
      resolve(false);
    };
    entry.waiters?.add(resolve);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await promise;
    } finally {
      entry.waiters?.delete(resolve);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Asks for a key that nobody waits for now. */
  want(owner: DemandAccount, key: DemandKey): void {
    this.#enter(this.#account(owner), key);
  }

  /** Notes that a key is used, so that others are let go before it; does nothing for one that was not asked for. */
  touch(owner: DemandAccount, key: DemandKey): void {
    if (this.#entries.has(key)) this.#enter(this.#account(owner), key);
  }

  /** Whether an answer is waited for. */
  isPending(key: DemandKey): boolean {
    return this.#entries.get(key)?.answered === false;
  }

  /** Lets go of what a pod that is gone has asked for. */
  forgetPod(podUid: string): void {
    for (const side of ['outbound', 'inbound'] as const) {
      const name = nameOf({ podUid, side });
      const account = this.#accounts.get(name);
      this.#accounts.delete(name);
      for (const entry of [...(account?.pending ?? []), ...(account?.answered ?? [])])
        if (account !== undefined) this.#leave(account, entry);
    }
  }

  list(): DemandedKey[] {
    return [...this.#entries.values()].map(({ key, answered, accounts }) => ({
      ...{ key, answered },
      pods: [...new Set(accounts.map(({ podUid }) => podUid))],
    }));
  }

  #account(owner: DemandAccount): Account {
    const name = nameOf(owner);
    let account = this.#accounts.get(name);
    if (account === undefined) {
      account = { name, podUid: owner.podUid, pending: new Set(), answered: new Set() };
      this.#accounts.set(name, account);
    }
    return account;
  }

  /** The entry of a key, now of this account too; `undefined` when the account may not wait for more. */
  #enter(account: Account, key: DemandKey): Entry | undefined {
    const known = this.#entries.get(key);
    if (known?.answered === true) {
      join(known, account);
      this.#use(account, known);
      return known;
    }
    if (known !== undefined && account.pending.has(known)) return known;
    if (account.pending.size >= MAX_PENDING_KEYS) return undefined;
    const entry = known ?? this.#open(key);
    join(entry, account);
    account.pending.add(entry);
    return entry;
  }

  #open(key: DemandKey): Entry {
    const entry: Entry = { key, accounts: [], waiters: new Set(), answered: false };
    this.#entries.set(key, entry);
    this.#link.demand(key).then(
      () => {
        this.#answer(entry);
      },
      () => {
        this.#giveUp(entry); // the other thread is ending
      },
    );
    return entry;
  }

  #answer(entry: Entry): void {
    entry.answered = true;
    for (const account of [...entry.accounts]) {
      account.pending.delete(entry);
      this.#use(account, entry);
    }
    wake(entry);
  }

  #giveUp(entry: Entry): void {
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
    for (const account of entry.accounts) account.pending.delete(entry);
    wake(entry);
  }

  /** Moves an answered key to the end of the line, and lets the first one go when there are too many. */
  #use(account: Account, entry: Entry): void {
    account.answered.delete(entry);
    account.answered.add(entry);
    if (account.answered.size <= MAX_ACCOUNT_KEYS) return;
    const [oldest] = account.answered;
    if (oldest !== undefined) this.#leave(account, oldest);
  }

  #leave(account: Account, entry: Entry): void {
    account.pending.delete(entry);
    account.answered.delete(entry);
    const index = entry.accounts.indexOf(account);
    if (index >= 0) entry.accounts.splice(index, 1);
    if (entry.accounts.length > 0) return;
    this.#entries.delete(entry.key);
    this.#link.release(entry.key);
    wake(entry);
  }
}

function join({ accounts }: Entry, account: Account): void {
  if (!accounts.includes(account)) accounts.push(account);
}

function wake(entry: Entry): void {
  const { waiters, answered } = entry;
  entry.waiters = undefined;
  for (const tell of waiters ?? []) tell(answered);
}

function nameOf({ podUid, side }: DemandAccount): string {
  return `${podUid} ${side}`;
}
