// Keeps what the person wrote until its fate is final, across lost connections and a reload of the page, and sends it again with
// the same clientMsgId, in order: after a reconnect, when the server says `retry`, and when 10 s passed without a final answer.

import { jittered } from './time.js';

const RESEND_AFTER_MS = 10_000;
const ENTRIES_MAX = 200;
const BYTES_MAX = 1_000_000;
/** Unanswered messages of one conversation at a time, so that a long offline spell does not end in a flood. */
const WINDOW = 16;
const RETRY_DEFAULT_MS = 1000;

function newClientMsgId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Event `change` with detail {conversationId}. An entry's `state` is sending, accepted or failed (final: `error` says why). */
export class Outbox extends EventTarget {
  #entries = [];
  #keptUnder;
  #send;
  #open = false;
  /** conversationId → time before which nothing of it is sent. */
  #heldUntil = new Map();
  #timer = 0;

  /** `send(entry)` hands a frame to the connection and returns whether that was possible. */
  constructor(userId, send) {
    super();
    this.#send = send;
    this.#keptUnder = `gochat.outbox.${userId}`;
    try {
      this.#entries = (JSON.parse(sessionStorage.getItem(this.#keptUnder)) ?? []).map((entry) => ({ ...entry, sentAt: 0 }));
    } catch {
      this.#entries = [];
    }
    this.#timer = setInterval(() => this.#flushAll(), 1000);
  }

  stop() { clearInterval(this.#timer); }

  of(conversationId) { return this.#entries.filter((entry) => entry.conversationId === conversationId); }

  get size() { return this.#entries.length; }

  /** How long the server asked to wait before more of this conversation is sent, ms. */
  heldFor(conversationId) { return Math.max(0, (this.#heldUntil.get(conversationId) ?? 0) - Date.now()); }

  /** Throws an Error with a sentence for the person when nothing more fits. */
  add(conversationId, content) {
    const bytes = this.#entries.reduce((sum, entry) => sum + entry.content.length, content.length) * 2;
    if (this.#entries.length >= ENTRIES_MAX || bytes > BYTES_MAX) {
      throw new Error('Too many messages wait to be sent. Please wait until they are through.');
    }
    const entry = { clientMsgId: newClientMsgId(), conversationId, content, createdAt: Date.now(), state: 'sending', error: null, sentAt: 0 };
    this.#entries.push(entry);
    this.#changed(conversationId);
    this.#flush(conversationId);
    return entry;
  }

  /** A refused message goes out as a new one, since its refusal was final. */
  retry(clientMsgId) {
    const entry = this.#find(clientMsgId);
    if (!entry || entry.state !== 'failed') return;
    Object.assign(entry, { clientMsgId: newClientMsgId(), state: 'sending', error: null, sentAt: 0, createdAt: Date.now() });
    this.#entries = [...this.#entries.filter((other) => other !== entry), entry];
    this.#changed(entry.conversationId);
    this.#flush(entry.conversationId);
  }

  discard(clientMsgId) {
    const entry = this.#find(clientMsgId);
    if (entry?.state === 'failed') this.#drop(entry);
  }

  opened() {
    this.#open = true;
    this.#flushAll();
  }

  closed() {
    this.#open = false;
    this.#heldUntil.clear();
    for (const entry of this.#entries) entry.sentAt = 0;
  }

  /** Takes a message-ack. Returns the entry that became stored, for the store to show, or null. */
  acknowledged(ack) {
    const entry = this.#find(ack.tempMessageId);
    if (!entry || entry.state === 'failed') return null;
    if (ack.status === 'accepted') {
      entry.state = 'accepted';
      this.#changed(entry.conversationId);
      this.#flush(entry.conversationId);
    } else if (ack.status === 'retry') {
      this.#hold(entry, ack.retryAfterMs ?? RETRY_DEFAULT_MS);
    } else if (ack.status === 'rejected') {
      this.refused(entry.clientMsgId, ack.message || 'The server refused this message.');
    } else if (ack.status === 'stored') {
      this.#drop(entry);
      this.#flush(entry.conversationId);
      return entry;
    }
    return null;
  }

  refused(clientMsgId, sentence) {
    const entry = this.#find(clientMsgId);
    if (!entry || entry.state === 'failed') return;
    entry.state = 'failed';
    entry.error = sentence;
    this.#changed(entry.conversationId);
    this.#flush(entry.conversationId);
  }

  /** Nobody knows the outcome, or the server is busy: this one and those behind it go again later, in their order. */
  postponed(clientMsgId, afterMs = RETRY_DEFAULT_MS) {
    const entry = this.#find(clientMsgId);
    if (entry && entry.state !== 'failed') this.#hold(entry, afterMs);
  }

  /** Our own message came back as a delivery: that is as final as `stored`. */
  settled(message) {
    const entry = message.clientMsgId ? this.#find(message.clientMsgId) : undefined;
    if (entry && entry.conversationId === message.conversationId) this.#drop(entry);
  }

  #hold(refused, afterMs) {
    const waitMs = jittered(afterMs, 1, 1.25);
    const until = Math.max(this.#heldUntil.get(refused.conversationId) ?? 0, Date.now() + waitMs);
    this.#heldUntil.set(refused.conversationId, until);
    let behind = false;
    for (const entry of this.of(refused.conversationId)) {
      behind ||= entry === refused;
      if (behind && entry.state === 'sending') entry.sentAt = 0;
    }
    refused.sentAt = 0;
    refused.state = 'sending';
    setTimeout(() => this.#flush(refused.conversationId), waitMs + 1);
    this.#changed(refused.conversationId);
  }

  #flushAll() {
    for (const id of new Set(this.#entries.map((entry) => entry.conversationId))) this.#flush(id);
  }

  #flush(conversationId) {
    const now = Date.now();
    if (!this.#open || (this.#heldUntil.get(conversationId) ?? 0) > now) return;
    let again = false;
    let unanswered = 0;
    for (const entry of this.of(conversationId)) {
      if (entry.state === 'failed') continue;
      const due = entry.sentAt === 0 || now - entry.sentAt >= RESEND_AFTER_MS;
      again ||= due;
      // Behind one that goes again, those without an answer go again too: the order of sending is the order of writing.
      if (due || (again && entry.state === 'sending')) {
        if (unanswered >= WINDOW || !this.#send(entry)) return;
        entry.sentAt = now;
      }
      if (entry.state === 'sending') unanswered += 1;
    }
  }

  #find(clientMsgId) { return this.#entries.find((entry) => entry.clientMsgId === clientMsgId); }

  #drop(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#changed(entry.conversationId);
  }

  #changed(conversationId) {
    try {
      if (this.#entries.length === 0) sessionStorage.removeItem(this.#keptUnder);
      else sessionStorage.setItem(this.#keptUnder, JSON.stringify(this.#entries));
    } catch {
      // A full or forbidden sessionStorage costs only the survival of a reload.
    }
    this.dispatchEvent(new CustomEvent('change', { detail: { conversationId } }));
  }
}
