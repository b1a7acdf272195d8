// REST calls and the login that they need. The login lives in sessionStorage: one tab is one device, and two tabs can be two users.

const KEPT_UNDER = 'gochat.login';
const REFRESH_BEFORE_END_MS = 60_000;
const CALL_DEADLINE_MS = 20_000;

/** What the server answered, in words a person can read. `status` 0: the server was not reached. */
export class ApiError extends Error {
  /** How long the server asks to wait before the next try; undefined: it did not say. */
  retryAfterMs;

  constructor(status, code, message, details) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** Events: `renewed` when a refresh brought a new access token; `signed-out` with detail {notice} when the login is lost. */
export class Api extends EventTarget {
  #login = null;
  #refreshing = null;
  #timer = 0;
  #changing = null;
  /** Counts logins: tokens of different numbers don't follow from each other by a refresh. */
  loginNumber = 0;

  constructor() {
    super();
    try {
      this.#login = JSON.parse(sessionStorage.getItem(KEPT_UNDER));
    } catch {
      this.#login = null;
    }
    if (this.#login) this.#planRefresh();
  }

  get signedIn() { return this.#login !== null; }
  get userId() { return this.#login?.userId ?? null; }

  register(form) { return this.#fetch('POST', '/api/auth/register', form); }

  async signIn(username, password) {
    await this.#logIn({ username, password });
  }

  async #logIn(who) {
    this.#keep(await this.#fetch('POST', '/api/auth/login', { ...who, deviceName: 'Web page' }));
    this.loginNumber += 1;
  }

  /** Ends every login of this user, this one too; a new one takes its place here. Calls that need a token wait for it meanwhile. */
  async changePassword(username, old, fresh) {
    const token = await this.accessToken();
    this.#changing = this.#changePassword(username, old, fresh, token).finally(() => { this.#changing = null; });
    return this.#changing;
  }

  async #changePassword(username, old, fresh, token) {
    await this.#fetch('POST', '/api/users/me/password', { old, new: fresh }, token);
    try {
      await this.#logIn({ username, password: fresh, deviceId: this.#login?.deviceId });
    } catch {
      this.#lose('Your password was changed. Please log in with the new one.');
    }
  }

  /** Resolves when no password is being changed. */
  async settled() { await this.#changing?.catch(() => undefined); }

  /** Forgets the login here at once; telling the server is best effort, since the page may be offline. */
  async signOut() {
    const login = this.#login;
    this.forget();
    if (!login) return;
    const call = this.#fetch('POST', '/api/auth/logout', { refreshToken: login.refreshToken }, login.accessToken);
    await call.catch(() => undefined);
  }

  me() { return this.#call('GET', '/api/users/me'); }
  userByName(username) { return this.#call('GET', `/api/users?username=${encodeURIComponent(username)}`); }
  usersByIds(ids) { return this.#call('GET', `/api/users?ids=${ids.map(encodeURIComponent).join(',')}`); }
  conversations(cursor, limit) {
    return this.#call('GET', `/api/conversations?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  }
  messagesBefore(conversationId, seq, limit) {
    return this.#call('GET', `/api/conversations/${encodeURIComponent(conversationId)}/messages?before_seq=${seq}&limit=${limit}`);
  }
  messagesAfter(conversationId, seq, limit) {
    return this.#call('GET', `/api/conversations/${encodeURIComponent(conversationId)}/messages?after_seq=${seq}&limit=${limit}`);
  }
  createGroup(name, memberIds) { return this.#call('POST', '/api/groups', { name, memberIds }); }
  members(groupId, cursor) {
    return this.#call('GET', `/api/groups/${groupId}/members?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  }
  addMembers(groupId, userIds) { return this.#call('POST', `/api/groups/${groupId}/members`, { userIds }); }
  removeMember(groupId, userId) { return this.#call('DELETE', `/api/groups/${groupId}/members/${userId}`); }

  /** An access token that holds for at least some seconds more. */
  async accessToken() {
    await this.settled();
    if (!this.#login) throw new ApiError(401, 1006, 'Please log in.');
    if (this.#login.endsAtMs - Date.now() < 10_000) await this.#refresh();
    return this.#login.accessToken;
  }

  async #call(method, path, body) {
    const token = await this.accessToken();
    try {
      return await this.#fetch(method, path, body, token);
    } catch (error) {
      if (error.status !== 401) throw error;
    }
    // Keys may have been rotated or this computer's clock may be wrong: one fresh token, then the answer counts.
    if (this.#login?.accessToken === token) await this.#refresh();
    return this.#fetch(method, path, body, await this.accessToken());
  }

  /** A new access token at once. */
  renew() { return this.#refresh(); }

  /** One refresh at a time: a refresh token may be used once. */
  #refresh() {
    this.#refreshing ??= this.#refreshOnce().finally(() => { this.#refreshing = null; });
    return this.#refreshing;
  }

  async #refreshOnce() {
    const before = this.loginNumber;
    await this.settled();
    if (this.loginNumber !== before) return;
    const used = this.#login?.refreshToken;
    if (!used) throw new ApiError(401, 1006, 'Please log in.');
    try {
      const login = await this.#fetch('POST', '/api/auth/refresh', { refreshToken: used });
      if (this.#login?.refreshToken !== used) return;
      this.#keep(login);
      this.dispatchEvent(new Event('renewed'));
    } catch (error) {
      // Only a ban is told in the server's own words: the others would not help a person.
      if (error.status === 401) this.#lose('Your login has ended. Please log in again.');
      else if (error.status === 403) this.#lose(error.message);
      throw error;
    }
  }

  #lose(notice) {
    this.forget();
    this.dispatchEvent(new CustomEvent('signed-out', { detail: { notice } }));
  }

  #keep(login) {
    const { userId, deviceId, accessToken, refreshToken, expiresIn } = login;
    this.#login = { userId, deviceId, accessToken, refreshToken, endsAtMs: Date.now() + expiresIn * 1000 };
    sessionStorage.setItem(KEPT_UNDER, JSON.stringify(this.#login));
    this.#planRefresh();
  }

  /** Drops the login here without a word to the server. */
  forget() {
    clearTimeout(this.#timer);
    this.#login = null;
    sessionStorage.removeItem(KEPT_UNDER);
  }

  #planRefresh() {
    clearTimeout(this.#timer);
    const leftMs = this.#login.endsAtMs - Date.now();
    // A short-lived token is refreshed half-way; the jitter keeps many pages from refreshing together.
    const aheadMs = Math.min(REFRESH_BEFORE_END_MS, leftMs / 2) * (1 + Math.random() * 0.5);
    this.#timer = setTimeout(() => {
      this.#refresh().catch(() => {
        if (this.#login) this.#timer = setTimeout(() => this.#planRefresh(), 5000);
      });
    }, Math.max(1000, leftMs - aheadMs));
  }

  async #fetch(method, path, body, token) {
    const headers = {};
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    let text;
    try {
      response = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        // A log-out is to arrive although the page is left at once.
        keepalive: path === '/api/auth/logout',
        signal: AbortSignal.timeout(CALL_DEADLINE_MS),
        cache: 'no-store',
      });
      text = await response.text();
    } catch {
      throw new ApiError(0, 0, 'The server could not be reached. Please try again in a moment.');
    }
    let answer = null;
    try {
      answer = text === '' ? null : JSON.parse(text);
    } catch {
      answer = null;
    }
    if (response.ok) return answer;
    const { code = 0, message, details, retryAfterMs } = answer?.error ?? {};
    const failure = new ApiError(response.status, code, message || `The server answered with status ${response.status}.`, details);
    const seconds = Number.parseInt(response.headers.get('Retry-After'), 10);
    failure.retryAfterMs = retryAfterMs ?? (seconds >= 0 ? seconds * 1000 : undefined);
    throw failure;
  }
}
