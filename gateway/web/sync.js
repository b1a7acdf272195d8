// Keeps the store level with the server: the list, heads and pages at each connect, live frames, holes, read pointers, the outbox.

import { jittered } from './time.js';

const HOLE_WAIT_MS = 300;
// At random, so that all who miss the same message of a group don't ask for it at once.
const HOLE_SPREAD_MS = 300;
const PAGE_LIMIT = 50;
const SYNC_DEADLINE_MS = 10_000;
/** Further behind than this, the newest page replaces what is here, and older messages come when the person scrolls up. */
const FETCH_WHOLE_MAX = 500;
/** Keeps a heads frame near 8 KB. */
const HEADS_MAX = 150;
const LIST_PAGE = 100;
const LIST_PAGES_MAX = 10;
const READ_SETTLE_MS = 150;
const CODE_RATE_LIMITED = 1012;
const CODE_TIMEOUT = 1015;
const CODES_GONE = new Set([1002, 1004, 1016]);

export class Sync extends EventTarget {
  /** From `hello`: the longest content in bytes of UTF-8. */
  maxMessageBytes = 8192;
  #api;
  #connection;
  #store;
  #outbox;
  #directory;
  #listLoaded = false;
  #listLoading = null;
  #listAgain = false;
  #headsTimer = 0;
  #resyncTimer = 0;
  #holeTimers = new Map();
  /** conversationId → {at: when its `sync` was sent, head: what was known of it then}. */
  #asked = new Map();
  #readTimers = new Map();
  #older = new Map();

  constructor({ api, connection, store, outbox, directory }) {
    super();
    this.#api = api;
    this.#connection = connection;
    this.#store = store;
    this.#outbox = outbox;
    this.#directory = directory;
    connection.addEventListener('open', () => this.#compareHeads());
    connection.addEventListener('frame', (event) => this.#frame(event.detail));
    connection.addEventListener('closed', () => this.#closed());
    store.addEventListener('hole', (event) => this.#holeFound(event.detail.conversationId));
    store.addEventListener('unknown', () => this.reloadList().catch(() => undefined));
    store.addEventListener('delivered', (event) => outbox.settled(event.detail.message));
  }

  /**
   * Before each attempt to connect: a valid token, and once the list, since heads are compared with what it says. `tokenEnded`: the
   * server ended the last connection for its token, whatever this computer's clock says of it.
   */
  async prepare(failures, tokenEnded = false) {
    if (tokenEnded) await this.#api.renew();
    // A refused upgrade looks like an unreachable server to a page; a plain call tells them apart, and renews the token.
    if (failures >= 2) await this.#api.me();
    if (!this.#listLoaded) await this.reloadList();
    return this.#api.accessToken();
  }

  /** Reloads the list; a call during a load makes one more load after it, since that one may have missed the cause. */
  reloadList() {
    if (this.#listLoading) {
      this.#listAgain = true;
      return this.#listLoading;
    }
    this.#listLoading = this.#loadList().finally(() => {
      this.#listLoading = null;
      if (this.#listAgain) {
        this.#listAgain = false;
        this.reloadList().catch(() => undefined);
      }
    });
    return this.#listLoading;
  }

  async #loadList() {
    const epoch = this.#store.epoch;
    const summaries = [];
    let cursor = null;
    let pages = 0;
    do {
      const page = await this.#api.conversations(cursor, LIST_PAGE);
      summaries.push(...page.conversations);
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor && pages < LIST_PAGES_MAX);
    if (epoch !== null && epoch !== this.#store.epoch) {
      this.#listAgain = true;
      return;
    }
    this.#store.applyList(summaries, !cursor);
    this.#listLoaded = true;
    this.dispatchEvent(new Event('list-loaded'));
  }

  /** Older messages of a conversation; one call at a time for each. */
  loadOlder(conversationId) {
    let call = this.#older.get(conversationId);
    if (!call) {
      call = this.#loadOlder(conversationId).finally(() => this.#older.delete(conversationId));
      this.#older.set(conversationId, call);
    }
    return call;
  }

  async #loadOlder(conversationId) {
    const conversation = this.#store.get(conversationId);
    if (!conversation || conversation.complete) return;
    const first = conversation.messages[0]?.seqId ?? conversation.last + 1;
    const before = conversation.draft && conversation.messages.length === 0 ? Number.MAX_SAFE_INTEGER : first;
    try {
      const page = await this.#api.messagesBefore(conversationId, before, PAGE_LIMIT);
      if (before === first) this.#store.receiveOlder(conversationId, page.messages, page.hasMore);
      else if (page.messages.length > 0) this.#store.restartAt(conversationId, page.messages, page.hasMore);
      else conversation.complete = true;
    } catch (error) {
      if (!conversation.draft || error.status !== 404) throw error;
      conversation.complete = true;
    }
    if (conversation.complete) this.dispatchEvent(new CustomEvent('older-loaded', { detail: { conversationId } }));
  }

  /** Fetches what the server left out from … to; a long stretch page by page, from its beginning. */
  async loadLeftOut(conversationId, { from, to }) {
    const limit = Math.min(PAGE_LIMIT, to - from + 1);
    const page = await this.#api.messagesAfter(conversationId, from - 1, limit);
    this.#store.receiveLeftOut(conversationId, from, to, page.messages, page.hasMore);
  }

  /** The person sees the end of this conversation. */
  markRead(conversationId) {
    if (this.#store.readAll(conversationId) === null || this.#readTimers.has(conversationId)) return;
    this.#readTimers.set(conversationId, setTimeout(() => {
      this.#readTimers.delete(conversationId);
      this.#sendRead(conversationId);
    }, READ_SETTLE_MS));
  }

  #sendRead(conversationId) {
    const conversation = this.#store.get(conversationId);
    if (conversation && conversation.readSeq > conversation.readConfirmed) {
      this.#connection.send('mark-read', { conversationId, seqId: conversation.readSeq });
    }
  }

  #frame({ type, data, id, timestamp }) {
    switch (type) {
      case 'hello': return this.#hello(data);
      case 'heads': return this.#heads(data);
      case 'sync-page': return this.#page(data);
      case 'new-message': return this.#store.receive(data);
      case 'message-ack': return this.#ack(data, timestamp);
      case 'receipt': return this.#store.receipt(data.conversationId, data.userId, data.seqId);
      case 'gap': return this.#store.leaveOut(data.conversationId, data.fromSeq, data.toSeq);
      case 'resync': return this.#resync(data.delayMs);
      case 'conversation-updated': return this.#updated(data);
      case 'error': return this.#error(data, id);
      default: return undefined;
    }
  }

  #hello(hello) {
    this.maxMessageBytes = hello.maxMessageBytes ?? this.maxMessageBytes;
    this.#noteEpoch(hello.epoch);
    clearInterval(this.#headsTimer);
    this.#headsTimer = setInterval(() => this.#compareHeads(), jittered(hello.headsIntervalMs ?? 300_000));
    this.#outbox.opened();
    for (const [conversationId, seqId] of this.#store.unconfirmedReads()) this.#connection.send('mark-read', { conversationId, seqId });
  }

  #closed() {
    clearInterval(this.#headsTimer);
    clearTimeout(this.#resyncTimer);
    this.#asked.clear();
    for (const timer of this.#holeTimers.values()) clearTimeout(timer);
    this.#holeTimers.clear();
    this.#outbox.closed();
  }

  #compareHeads() {
    this.#connection.send('heads', { conversations: this.#store.heads(HEADS_MAX), pageLimit: PAGE_LIMIT }, 'heads');
  }

  #heads({ changed, epoch }) {
    if (this.#noteEpoch(epoch)) return;
    for (const { conversationId, lastSeq } of changed) this.#store.noteHead(conversationId, lastSeq);
  }

  /** Another epoch means that the server's data was replaced by older data: what was kept here may never have happened. */
  #noteEpoch(epoch) {
    if (!this.#store.noteEpoch(epoch)) return false;
    this.#asked.clear();
    this.reloadList().then(() => this.#compareHeads(), () => this.#resync(5000));
    return true;
  }

  #resync(delayMs = 0) {
    clearTimeout(this.#resyncTimer);
    this.#resyncTimer = setTimeout(() => {
      if (!this.#listLoaded || this.#store.conversations.size === 0) this.reloadList().catch(() => undefined);
      this.#compareHeads();
    }, delayMs);
  }

  #holeFound(conversationId) {
    if (this.#holeTimers.has(conversationId)) return;
    this.#holeTimers.set(conversationId, setTimeout(() => {
      this.#holeTimers.delete(conversationId);
      const conversation = this.#store.get(conversationId);
      if (conversation && conversation.head > conversation.last) this.#ask(conversation);
    }, HOLE_WAIT_MS + Math.random() * HOLE_SPREAD_MS));
  }

  #ask(conversation) {
    const asked = this.#asked.get(conversation.id);
    if (asked && Date.now() - asked.at < SYNC_DEADLINE_MS) return;
    const data = { conversationId: conversation.id, afterSeq: conversation.last, limit: PAGE_LIMIT };
    if (!this.#connection.send('sync', data, `sync:${conversation.id}`)) return;
    this.#asked.set(conversation.id, { at: Date.now(), head: conversation.head });
    setTimeout(() => {
      if (this.#asked.has(conversation.id) && conversation.head > conversation.last) this.#holeFound(conversation.id);
    }, SYNC_DEADLINE_MS + 100);
  }

  #page(page) {
    if (this.#noteEpoch(page.epoch)) return;
    const asked = this.#asked.get(page.conversationId);
    this.#asked.delete(page.conversationId);
    if (!this.#store.receivePage(page, asked?.head)) return;
    const conversation = this.#store.get(page.conversationId);
    if (conversation.head - conversation.last > FETCH_WHOLE_MAX) this.#jump(conversation);
    else this.#ask(conversation);
  }

  async #jump(conversation) {
    this.#asked.set(conversation.id, { at: Date.now(), head: 0 });
    try {
      const page = await this.#api.messagesBefore(conversation.id, conversation.head + 1, PAGE_LIMIT);
      this.#store.restartAt(conversation.id, page.messages, page.hasMore);
    } catch {
      this.#holeFound(conversation.id);
    } finally {
      this.#asked.delete(conversation.id);
    }
  }

  #ack(ack, timestamp) {
    const entry = this.#outbox.acknowledged(ack);
    // It may be refused since one was put out of the group while nobody could tell this page.
    if (ack.status === 'rejected') this.reloadList().catch(() => undefined);
    if (!entry) return;
    // The delivery to our own device may be lost: the ack says all that is needed to show the message in its place.
    this.#store.receive({
      messageId: ack.messageId,
      conversationId: entry.conversationId,
      sender: this.#store.me,
      content: entry.content,
      messageType: 'text',
      seqId: ack.seqId,
      clientMsgId: entry.clientMsgId,
      createdAt: timestamp ?? Date.now(),
    });
  }

  #updated({ conversationId, change }) {
    if (change === 'left') this.#store.leave(conversationId);
    if (change === 'joined' || change === 'left') this.reloadList().catch(() => undefined);
    this.dispatchEvent(new CustomEvent('members-changed', { detail: { conversationId } }));
  }

  #error({ code, message, details, retryAfterMs = details?.retryAfterMs }, id) {
    if (typeof id !== 'string') return;
    if (id.startsWith('sync:')) {
      const conversationId = id.slice('sync:'.length);
      // Any other trouble leaves the question standing until its deadline, and then it is asked again.
      if (CODES_GONE.has(code)) {
        this.#asked.delete(conversationId);
        this.reloadList().catch(() => undefined);
      } else if (retryAfterMs !== undefined) {
        setTimeout(() => {
          this.#asked.delete(conversationId);
          this.#holeFound(conversationId);
        }, jittered(retryAfterMs, 1, 1.25));
      }
    } else if (id === 'heads') {
      this.#resync(jittered(retryAfterMs ?? 5000, 1, 1.25));
    } else if (code >= CODE_RATE_LIMITED && code <= CODE_TIMEOUT) {
      this.#outbox.postponed(id, retryAfterMs);
    } else {
      this.#outbox.refused(id, message);
    }
  }

  /** Ends all timers; the object is not used again. */
  stop() {
    this.#closed();
    for (const timer of this.#readTimers.values()) clearTimeout(timer);
    this.#outbox.stop();
  }
}
