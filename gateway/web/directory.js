// Who is behind a user id. Unknown ids are collected for a moment and asked for together.

const COLLECT_MS = 30;
const IDS_PER_CALL = 50;
const KEPT_MAX = 5000;
const ASK_AGAIN_MS = 5000;

/** Event `change` when names arrived. */
export class Directory extends EventTarget {
  #api;
  #users = new Map();
  #wanted = new Set();
  #timer = 0;

  constructor(api) {
    super();
    this.#api = api;
  }

  /** Remembers users that came with another answer. */
  note(...users) {
    for (const user of users) {
      if (this.#users.size >= KEPT_MAX) this.#users.delete(this.#users.keys().next().value);
      this.#users.set(user.userId, user);
      this.#wanted.delete(user.userId);
    }
    this.dispatchEvent(new Event('change'));
  }

  /** The user, or undefined while it is being asked for. */
  user(id) {
    const user = this.#users.get(id);
    if (!user && !this.#wanted.has(id)) {
      this.#wanted.add(id);
      this.#plan(COLLECT_MS);
    }
    return user;
  }

  /** A name to show at once; it is replaced when `change` tells of a better one. */
  nameOf(id) {
    const user = this.user(id);
    return user ? user.displayName || user.username : '…';
  }

  #plan(afterMs) {
    if (this.#timer === 0) this.#timer = setTimeout(() => this.#ask(), afterMs);
  }

  async #ask() {
    const ids = [...this.#wanted].slice(0, IDS_PER_CALL);
    let again = COLLECT_MS;
    try {
      const { users } = await this.#api.usersByIds(ids);
      const found = new Set(users.map((user) => user.userId));
      const missing = ids.filter((id) => !found.has(id)).map((id) => ({ userId: id, username: '', displayName: 'Unknown user' }));
      this.note(...users, ...missing);
    } catch (error) {
      // Refused ids would be refused for ever; an unreachable server is asked again.
      if (error.status === 400) for (const id of ids) this.#users.set(id, { userId: id, username: '', displayName: 'Unknown user' });
      if (error.status === 400) for (const id of ids) this.#wanted.delete(id);
      again = ASK_AGAIN_MS;
    }
    this.#timer = 0;
    if (this.#wanted.size > 0 && this.#api.signedIn) this.#plan(again);
  }
}
