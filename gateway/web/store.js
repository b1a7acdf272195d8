// What this page knows: conversations, their messages in order, read pointers. No network, no DOM: it is told and it tells.
//
// Order: a conversation's messages are delivered as last + 1, last + 2, …; what is already there is dropped, what is later waits
// and is reported as a hole, which a page of `sync` fills.

import { addGap, closeGap, isInGap, leftOutAfter } from './gaps.js';

const STRAYS_MAX = 500;
const MESSAGES_KEPT = 1000;
const MESSAGES_MAX = 3000;

function newConversation(id, last) {
  return {
    id,
    type: id === 'world' ? 'world' : id.startsWith('group_') ? 'group' : 'single',
    name: '',
    /** Delivered messages, ascending by seqId. */
    messages: [],
    /** Live messages behind a hole: seqId → message. */
    later: new Map(),
    /** What the server left out up to `last`, and what it said it left out behind a hole. */
    gaps: [],
    gapsAhead: [],
    /** Newest delivered seq, and newest seq known to exist. */
    last,
    head: last,
    /** True when nothing older than messages[0] can be fetched. */
    complete: last === 0,
    readSeq: last,
    /** What the server has confirmed of readSeq. */
    readConfirmed: last,
    unread: 0,
    /** userId → seq up to which that member has read. */
    readBy: new Map(),
    updatedAt: 0,
    /** True for a chat that nobody wrote in yet: it exists on this page only. */
    draft: false,
    /** True for a group that this user left: heads tell of it all the same, or the server would send it each time. */
    left: false,
    /** True while a person reads further up: then nothing is trimmed under his eyes. */
    reading: false,
  };
}

/** The other user of a single conversation. */
export function peerOf(conversationId, me) {
  const [, low, high] = conversationId.split('_');
  return low === me ? high : low;
}

/** The id of the conversation of two users: the smaller id first, as numbers. */
export function singleId(a, b) {
  return BigInt(a) < BigInt(b) ? `single_${a}_${b}` : `single_${b}_${a}`;
}

/**
 * Events, each with `detail`: `change` {conversationId or null for many}, `delivered` {message, live}, `hole` {conversationId},
 * `unknown` {conversationId}: something happened in a conversation that the list does not hold yet.
 */
export class Store extends EventTarget {
  me = null;
  epoch = null;
  conversations = new Map();
  #strays = [];

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
  #changed(conversationId = null) { this.#tell('change', { conversationId }); }

  get(id) { return this.conversations.get(id); }

  /** What is shown, newest first; a conversation just begun stands on top. `keeps(id)` says which are shown although they were left. */
  shown(keeps = () => false) { return this.#newestFirst().filter((conversation) => !conversation.left || keeps(conversation.id)); }

  #newestFirst() {
    return [...this.conversations.values()].sort((a, b) => b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1));
  }

  get unreadTotal() {
    let total = 0;
    for (const conversation of this.conversations.values()) if (!conversation.left) total += conversation.unread;
    return total;
  }

  /** Notes the store's epoch; true when it is another one than before, and then everything kept was dropped. */
  noteEpoch(epoch) {
    if (epoch === undefined || epoch === null || epoch === this.epoch) return false;
    const dropped = this.epoch !== null;
    this.epoch = epoch;
    if (dropped) {
      this.conversations.clear();
      this.#strays = [];
      this.#changed();
    }
    return dropped;
  }

  /** Takes GET /api/conversations; `whole` says that it is the whole list, so that what it lacks is gone. */
  applyList(summaries, whole) {
    const named = new Set();
    for (const summary of summaries) {
      named.add(summary.conversationId);
      this.#applySummary(summary);
    }
    if (whole) {
      for (const conversation of [...this.conversations.values()]) {
        if (!named.has(conversation.id) && !conversation.draft) this.conversations.delete(conversation.id);
      }
    }
    const strays = this.#strays;
    this.#strays = [];
    for (const message of strays) if (this.conversations.has(message.conversationId)) this.receive(message);
    this.#changed();
  }

  #applySummary(summary) {
    let conversation = this.get(summary.conversationId);
    if (!conversation) {
      conversation = newConversation(summary.conversationId, summary.lastSeq);
      if (summary.lastMessage && summary.lastMessage.seqId === summary.lastSeq) conversation.messages.push(summary.lastMessage);
      conversation.readSeq = summary.readSeq;
      conversation.readConfirmed = summary.readSeq;
      conversation.unread = summary.unreadCount;
      this.conversations.set(conversation.id, conversation);
      if (summary.lastMessage) this.#hasRead(conversation, summary.lastMessage.sender, summary.lastMessage.seqId);
    }
    conversation.draft = false;
    conversation.left = summary.left ?? false;
    conversation.type = summary.type ?? conversation.type;
    conversation.name = summary.name ?? conversation.name;
    conversation.updatedAt = Math.max(conversation.updatedAt, summary.updatedAt ?? 0);
    if (summary.peerReadSeq) this.#hasRead(conversation, peerOf(conversation.id, this.me), summary.peerReadSeq);
    this.#ownRead(conversation, summary.readSeq);
    this.noteHead(conversation.id, summary.lastSeq);
  }

  /** Makes a chat with one person before anything was written in it. */
  beginSingle(userId) {
    const id = singleId(this.me, userId);
    if (!this.get(id)) {
      const conversation = newConversation(id, 0);
      conversation.draft = true;
      // Older messages are asked for once: the chat may exist without standing in the part of the list that was loaded.
      conversation.complete = false;
      conversation.updatedAt = Date.now();
      this.conversations.set(id, conversation);
      this.#changed(id);
    }
    return id;
  }

  /** This user is not a member any more. */
  leave(conversationId) {
    const conversation = this.get(conversationId);
    if (!conversation) return;
    conversation.left = true;
    this.#changed(conversationId);
  }

  /** What `heads` says of us: conversation → last seq, of the `max` newest conversations. */
  heads(max) {
    const known = this.#newestFirst().filter((conversation) => !conversation.draft).slice(0, max);
    return Object.fromEntries(known.map((conversation) => [conversation.id, conversation.last]));
  }

  /** The server has messages up to `seq`. */
  noteHead(conversationId, seq) {
    const conversation = this.get(conversationId);
    if (!conversation) return this.#tell('unknown', { conversationId });
    conversation.head = Math.max(conversation.head, seq);
    if (conversation.head > conversation.last) this.#tell('hole', { conversationId });
  }

  /** Takes one live message. */
  receive(message) {
    const conversation = this.get(message.conversationId);
    if (!conversation) {
      this.#strays.push(message);
      if (this.#strays.length > STRAYS_MAX) this.#strays.shift();
      return this.#tell('unknown', { conversationId: message.conversationId });
    }
    if (message.seqId <= conversation.last) {
      if (this.#takeLeftOut(conversation, message)) this.#changed(conversation.id);
      return;
    }
    conversation.head = Math.max(conversation.head, message.seqId);
    if (message.seqId === conversation.last + 1) {
      this.#deliver(conversation, message, true);
      this.#deliverLater(conversation);
    } else if (conversation.later.size < STRAYS_MAX) {
      conversation.later.set(message.seqId, message);
    }
    if (conversation.head > conversation.last) this.#tell('hole', { conversationId: conversation.id });
    this.#changed(conversation.id);
  }

  /** The server left out from … to for this slow connection: they are passed over until a person asks for them. */
  leaveOut(conversationId, from, to) {
    const conversation = this.get(conversationId);
    if (!conversation) return this.#tell('unknown', { conversationId });
    if (to <= conversation.last || from > to) return;
    conversation.head = Math.max(conversation.head, to);
    conversation.gapsAhead = addGap(conversation.gapsAhead, from, to);
    this.#deliverLater(conversation);
    if (conversation.head > conversation.last) this.#tell('hole', { conversationId });
    this.#changed(conversationId);
  }

  /** Takes messages that were fetched for the gap from … to, oldest first; `hasMore`: others follow them. */
  receiveLeftOut(conversationId, from, to, messages, hasMore) {
    const conversation = this.get(conversationId);
    if (!conversation) return;
    for (const message of messages) this.#takeLeftOut(conversation, message);
    const newest = Math.max(from - 1, ...messages.map((message) => message.seqId));
    // What a page passes over is not there for this user.
    conversation.gaps = closeGap(conversation.gaps, from, hasMore ? Math.min(newest, to) : to);
    this.#changed(conversationId);
  }

  /** True when the message was left out before, and now stands in its place. */
  #takeLeftOut(conversation, message) {
    if (!isInGap(conversation.gaps, message.seqId)) return false;
    conversation.gaps = closeGap(conversation.gaps, message.seqId, message.seqId);
    const after = conversation.messages.findIndex((other) => other.seqId > message.seqId);
    conversation.messages.splice(after < 0 ? conversation.messages.length : after, 0, message);
    this.#hasRead(conversation, message.sender, message.seqId);
    this.#tell('delivered', { message, live: false });
    return true;
  }

  /** What lies before the first message is fetched with the older ones. */
  #forgetOldGaps(conversation) {
    const first = conversation.messages[0]?.seqId ?? 0;
    const kept = conversation.gaps.filter((gap) => gap.to > first);
    if (kept.length === conversation.gaps.length) return;
    conversation.gaps = kept;
    conversation.complete = false;
  }

  /**
   * Takes a page that was asked for after `last`. The server's page is complete for this user, so a jump in it is no hole: it
   * was not a member then. For the same reason a last page settles what waits behind a hole, but only up to `askedHead`, the
   * newest seq known when the page was asked for: the page may be older than what arrived since. Returns true when more is to be asked for.
   */
  receivePage(page, askedHead = 0) {
    const conversation = this.get(page.conversationId);
    if (!conversation) {
      this.#tell('unknown', { conversationId: page.conversationId });
      return false;
    }
    for (const message of page.messages) {
      if (message.seqId > conversation.last) this.#deliver(conversation, message, false);
    }
    this.#deliverLater(conversation);
    if (!page.hasMore) {
      const settled = [...conversation.later.values()].filter((message) => message.seqId <= askedHead);
      for (const message of settled.sort((a, b) => a.seqId - b.seqId)) this.#deliver(conversation, message, true);
      this.#deliverLater(conversation);
      if (conversation.head <= askedHead) conversation.head = conversation.last;
      if (conversation.head > conversation.last) this.#tell('hole', { conversationId: conversation.id });
    }
    this.#changed(conversation.id);
    return page.hasMore;
  }

  /** Takes older messages, in any order, for the front. */
  receiveOlder(conversationId, messages, hasMore) {
    const conversation = this.get(conversationId);
    if (!conversation) return;
    const first = conversation.messages[0]?.seqId ?? conversation.last + 1;
    const older = messages.filter((message) => message.seqId < first).sort((a, b) => a.seqId - b.seqId);
    conversation.messages.unshift(...older);
    for (const message of older) {
      this.#hasRead(conversation, message.sender, message.seqId);
      conversation.gaps = closeGap(conversation.gaps, message.seqId, message.seqId);
    }
    conversation.complete = !hasMore || older.length === 0;
    this.#changed(conversationId);
  }

  /** Starts again from the newest page, for a conversation that ran too far ahead to be fetched whole. */
  restartAt(conversationId, messages, hasMore) {
    const conversation = this.get(conversationId);
    if (!conversation || messages.length === 0) return;
    const page = [...messages].sort((a, b) => a.seqId - b.seqId);
    const newest = page[page.length - 1].seqId;
    if (newest <= conversation.last) return;
    conversation.unread += newest - conversation.last - page.length;
    conversation.messages = [];
    conversation.gaps = [];
    conversation.complete = !hasMore;
    for (const message of page) this.#deliver(conversation, message, false);
    this.#deliverLater(conversation);
    if (conversation.head > conversation.last) this.#tell('hole', { conversationId });
    this.#changed(conversationId);
  }

  #deliver(conversation, message, live) {
    conversation.messages.push(message);
    conversation.last = message.seqId;
    conversation.head = Math.max(conversation.head, message.seqId);
    conversation.draft = false;
    conversation.updatedAt = Math.max(conversation.updatedAt, message.createdAt);
    this.#hasRead(conversation, message.sender, message.seqId);
    // A sender has read up to what he wrote; the server moves his pointer in the same step.
    if (message.sender === this.me) this.#ownRead(conversation, message.seqId);
    else if (message.seqId > conversation.readSeq) conversation.unread += 1;
    const bound = conversation.reading ? MESSAGES_MAX : MESSAGES_KEPT;
    if (conversation.messages.length > bound) {
      conversation.messages.splice(0, conversation.messages.length - bound + 200);
      conversation.complete = false;
    }
    this.#forgetOldGaps(conversation);
    this.#tell('delivered', { message, live });
  }

  #deliverLater(conversation) {
    for (;;) {
      const message = conversation.later.get(conversation.last + 1);
      if (message) {
        conversation.later.delete(message.seqId);
        this.#deliver(conversation, message, true);
      } else if (!this.#passOver(conversation)) {
        break;
      }
    }
    for (const seq of conversation.later.keys()) if (seq <= conversation.last) conversation.later.delete(seq);
    conversation.gapsAhead = closeGap(conversation.gapsAhead, 0, conversation.last);
  }

  /** Goes on over what the server left out right behind the last message, up to what is here of it; false when there is nothing. */
  #passOver(conversation) {
    const from = conversation.last + 1;
    const gap = conversation.gapsAhead.find((one) => one.from <= from && from <= one.to);
    if (!gap) return false;
    const to = Math.min(gap.to, ...[...conversation.later.keys()].filter((seq) => seq >= from).map((seq) => seq - 1));
    conversation.gaps = addGap(conversation.gaps, from, to);
    conversation.last = to;
    conversation.unread += Math.max(0, to - Math.max(from - 1, conversation.readSeq));
    conversation.draft = false;
    conversation.updatedAt = Math.max(conversation.updatedAt, Date.now());
    return true;
  }

  /** A member has read up to `seq`; of ourselves it is another device's word or the server's confirmation. */
  receipt(conversationId, userId, seq) {
    const conversation = this.get(conversationId);
    if (!conversation) return;
    if (userId === this.me) this.#ownRead(conversation, seq);
    else this.#hasRead(conversation, userId, seq);
    // What somebody has read exists: if it was lost on the way here, this tells of it.
    this.noteHead(conversationId, seq);
    this.#changed(conversationId);
  }

  #hasRead(conversation, userId, seq) {
    if (userId !== this.me && seq > (conversation.readBy.get(userId) ?? 0)) conversation.readBy.set(userId, seq);
  }

  #ownRead(conversation, seq) {
    conversation.readConfirmed = Math.max(conversation.readConfirmed, seq);
    this.#moveRead(conversation, seq);
  }

  #moveRead(conversation, seq) {
    if (seq <= conversation.readSeq) return false;
    conversation.readSeq = seq;
    conversation.unread = seq >= conversation.last ? 0 : this.#countUnread(conversation);
    return true;
  }

  #countUnread(conversation) {
    const held = conversation.messages;
    const covered = held.length > 0 && held[0].seqId <= conversation.readSeq + 1;
    if (!covered) return Math.min(conversation.unread, conversation.last - conversation.readSeq);
    return held.filter((message) => message.seqId > conversation.readSeq && message.sender !== this.me).length
      + leftOutAfter(conversation.gaps, conversation.readSeq);
  }

  /** The person has seen everything delivered here. Returns the seq to tell the server, or null when that is nothing new. */
  readAll(conversationId) {
    const conversation = this.get(conversationId);
    if (!conversation || !this.#moveRead(conversation, conversation.last)) return null;
    this.#changed(conversationId);
    return conversation.readSeq;
  }

  /** Read pointers that the server has not confirmed yet. */
  unconfirmedReads() {
    return [...this.conversations.values()]
      .filter((conversation) => conversation.readSeq > conversation.readConfirmed)
      .map((conversation) => [conversation.id, conversation.readSeq]);
  }

  /** Who else has read message `seq`: user ids. */
  readersOf(conversation, seq) {
    return [...conversation.readBy].filter(([, upTo]) => upTo >= seq).map(([userId]) => userId);
  }
}
