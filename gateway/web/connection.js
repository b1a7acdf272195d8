// The WebSocket as a state machine: connecting → online → waiting → connecting … until stopped.
// It knows frames and their envelope, and nothing of what they mean.

import { jittered } from './time.js';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
const OPEN_DEADLINE_MS = 10_000;
const SILENCE_AFTER_PING_MS = 10_000;
const TOKEN_ENDED = 4401;
const TOO_MANY = 4429;
/** Close codes that tell of a fault of this page: whoever develops it wants to know, and the next attempt has time. */
const FAULTS = new Set([1002, 1003, 1007, 1008, 1009]);
/** Failures in a row after which the wait is the longest. */
const FAILURES_TO_LONGEST = Math.ceil(Math.log2(LONGEST_WAIT_MS / FIRST_WAIT_MS));
/** A connection that lived this long was a good one: the waits begin anew after it. */
const STEADY_AFTER_MS = 5000;

/**
 * Events: `state` after each change of `state`; `open` when frames may be sent; `frame` with detail {type, data, id, timestamp}; `closed`.
 * `prepare(failures, tokenEnded)` is awaited before each attempt and returns the access token; when it fails the attempt counts as failed.
 */
export class Connection extends EventTarget {
  state = 'stopped';
  /** When the next attempt is due (ms since 1970), while `state` is `waiting`; Infinity: when somebody asks for it. */
  nextAttemptAt = 0;

  #prepare;
  #socket = null;
  #attempt = 0;
  #failures = 0;
  #onlineAt = 0;
  #waitTimer = 0;
  #openTimer = 0;
  #pingTimer = 0;
  #silenceTimer = 0;
  #heartbeatMs = 30_000;
  /** The last connection ended with 4401, and no new token was fetched since. */
  #tokenEnded = false;

  constructor(prepare) {
    super();
    this.#prepare = prepare;
    window.addEventListener('online', () => {
      // A network is nobody who asks.
      if (this.nextAttemptAt !== Infinity) this.retryNow();
    });
    window.addEventListener('offline', () => this.#probe());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.retryNow();
    });
  }

  start() {
    if (this.state === 'stopped') this.#connect();
  }

  stop() {
    this.#setState('stopped');
    clearTimeout(this.#waitTimer);
    this.#attempt += 1;
    const wasOpen = this.#socket !== null;
    this.#dropSocket(1000);
    if (wasOpen) this.dispatchEvent(new Event('closed'));
  }

  /** Skips the rest of a wait; otherwise does nothing. */
  retryNow() {
    if (this.state === 'waiting') this.#connect();
  }

  /** True when the frame was handed to the socket, which is no promise that it arrives. */
  send(type, data, id) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    const frame = { type, data, timestamp: Date.now() };
    if (id !== undefined) frame.id = id;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  async #connect() {
    clearTimeout(this.#waitTimer);
    const attempt = ++this.#attempt;
    this.#setState('connecting');
    let token;
    try {
      token = await this.#prepare(this.#failures, this.#tokenEnded);
    } catch {
      if (attempt === this.#attempt) this.#failed();
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#tokenEnded = false;
    const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;
    const socket = new WebSocket(url, ['gochat.v1', `bearer.${token}`]);
    this.#socket = socket;
    this.#openTimer = setTimeout(() => this.#lost(socket), OPEN_DEADLINE_MS);
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code);
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    this.#armPing();
    this.dispatchEvent(new Event('open'));
  }

  #received(socket, text) {
    if (socket !== this.#socket || typeof text !== 'string') return;
    this.#armPing();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === 'hello') {
      clearTimeout(this.#openTimer);
      this.#onlineAt = Date.now();
      this.#heartbeatMs = frame.data.heartbeatMs || this.#heartbeatMs;
      this.#armPing();
      this.#setState('online');
    }
    this.dispatchEvent(new CustomEvent('frame', { detail: frame }));
  }

  #lost(socket, code) {
    if (socket !== this.#socket) return;
    const steady = this.state === 'online' && Date.now() - this.#onlineAt >= STEADY_AFTER_MS;
    if (steady) this.#failures = 0;
    this.#dropSocket(1000);
    this.dispatchEvent(new Event('closed'));
    if (FAULTS.has(code)) {
      console.warn(`The server closed the connection with ${code}.`);
      this.#failures = Math.max(this.#failures, FAILURES_TO_LONGEST);
    }
    // An ended token is nobody's trouble: the next attempt brings a fresh one.
    this.#tokenEnded ||= code === TOKEN_ENDED;
    if (steady && code === TOKEN_ENDED) this.#connect();
    else if (code === TOO_MANY) this.#putOut();
    else this.#failed();
  }

  /** Another device took the place of this one: by itself it would put out the next. */
  #putOut() {
    this.nextAttemptAt = Infinity;
    this.#setState('waiting');
  }

  #failed() {
    if (this.state === 'stopped') return;
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    const waitMs = jittered(longest, 0.5, 1);
    this.nextAttemptAt = Date.now() + waitMs;
    this.#waitTimer = setTimeout(() => this.#connect(), waitMs);
    this.#setState('waiting');
  }

  /** After a heartbeat without any frame asks for one; silence then means that the path is dead. */
  #armPing() {
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#silenceTimer);
    this.#pingTimer = setTimeout(() => this.#probe(), this.#heartbeatMs);
  }

  #probe() {
    const socket = this.#socket;
    if (!socket || !this.send('ping', {})) return;
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#lost(socket), SILENCE_AFTER_PING_MS);
  }

  #dropSocket(code) {
    clearTimeout(this.#openTimer);
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#silenceTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #setState(state) {
    if (this.state === state && state !== 'waiting') return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
