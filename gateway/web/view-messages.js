// The messages of the open conversation: days, runs of one sender, states, older ones on scrolling up.

import { announce, avatar, el, icon, paintAvatar, perFrame } from './dom.js';
import { dayOf, fullTimeOf, timeOf } from './time.js';

const RUN_MS = 5 * 60_000;
const NEAR_END_PX = 48;
const OLDER_AT_PX = 240;

const STATE_WORDS = {
  sending: 'Sending', accepted: 'Accepted by the server', stored: 'Stored', read: 'Read', failed: 'Not sent',
};

export class MessagesView {
  #app;
  #conversationId = null;
  #nodes = new Map();
  #atEnd = true;
  /** Of the box when it was last looked at. */
  #height = 0;
  #olderFailed = false;
  #unreadFrom = null;
  #list = el('ol.messages', { role: 'log', 'aria-live': 'polite', 'aria-label': 'Messages' });
  #older = el('button.link.older', { type: 'button', hidden: true, onclick: () => this.#loadOlder() });
  #scroller = el('div.scroller', { id: 'messages', tabIndex: 0, role: 'region', 'aria-label': 'Message history' }, this.#older, this.#list);
  #toEnd = el('button.to-end', { type: 'button', hidden: true, title: 'To the newest message', 'aria-label': 'To the newest message' });
  element = el('div.log', {}, this.#scroller, this.#toEnd);

  constructor(app) {
    this.#app = app;
    this.#toEnd.onclick = () => this.scrollToEnd();
    this.#scroller.addEventListener('scroll', () => {
      this.#scrolled();
      this.#loadGapsInSight();
    }, { passive: true });
    const render = perFrame(() => this.render());
    app.store.addEventListener('change', render);
    app.outbox.addEventListener('change', render);
    app.directory.addEventListener('change', render);
    document.addEventListener('visibilitychange', render);
    new ResizeObserver(() => { if (this.#atEnd) this.scrollToEnd(); }).observe(this.#scroller);
    // A day separator says "Today": it must not say so tomorrow.
    setInterval(render, 60_000);
  }

  show(conversationId) {
    if (this.#conversationId) this.#setReading(false);
    this.#conversationId = conversationId;
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.#atEnd = true;
    this.#olderFailed = false;
    const conversation = this.#app.store.get(conversationId);
    this.#unreadFrom = conversation && conversation.unread > 0 ? conversation.readSeq + 1 : null;
    this.render();
    this.scrollToEnd();
  }

  scrollToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#scrolled();
  }

  #setReading(reading) {
    const conversation = this.#app.store.get(this.#conversationId);
    if (conversation) conversation.reading = reading;
  }

  #scrolled() {
    const box = this.#scroller;
    // A keyboard that opens makes the box smaller, and a scroll event may come before the observer tells of that: nobody left the end.
    if (this.#atEnd && box.clientHeight !== this.#height) box.scrollTop = box.scrollHeight;
    this.#height = box.clientHeight;
    this.#atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    this.#setReading(!this.#atEnd);
    this.#afterScroll();
  }

  #afterScroll() {
    const conversation = this.#app.store.get(this.#conversationId);
    if (!conversation) return;
    if (this.#atEnd && this.element.isConnected && document.visibilityState === 'visible') this.#app.sync.markRead(conversation.id);
    this.#toEnd.hidden = this.#atEnd;
    this.#toEnd.replaceChildren(icon('down'), conversation.unread > 0 ? el('span.unread', {}, String(conversation.unread)) : '');
    if (!conversation.complete && !this.#olderFailed && this.#scroller.scrollTop < OLDER_AT_PX) this.#loadOlder();
  }

  async #loadOlder() {
    const id = this.#conversationId;
    try {
      await this.#app.sync.loadOlder(id);
      if (id === this.#conversationId) this.#olderFailed = false;
    } catch {
      if (id !== this.#conversationId) return;
      this.#olderFailed = true;
      this.#older.textContent = 'Older messages could not be loaded. Try again';
    }
    this.#older.hidden = !this.#olderFailed;
  }

  render() {
    const { store, outbox } = this.#app;
    const conversation = store.get(this.#conversationId);
    if (!conversation) return;
    const anchor = this.#anchor();
    const nodes = [];
    const used = new Set();
    let previous = null;
    const take = (key, make) => {
      used.add(key);
      let node = this.#nodes.get(key);
      if (!node) this.#nodes.set(key, node = make());
      nodes.push(node);
      return node;
    };
    const gaps = [...conversation.gaps];
    for (const message of [...conversation.messages, ...outbox.of(conversation.id)]) {
      while (gaps.length > 0 && !(message.seqId < gaps[0].from)) previous = this.#placeGap(gaps.shift(), previous, take);
      previous = this.#place(conversation, message, previous, take, (key) => used.has(key));
    }
    for (const gap of gaps) this.#placeGap(gap, previous, take);
    if (nodes.length === 0 && conversation.complete) take('empty', () => el('li.empty-chat', {}, 'No messages yet. Say hello!'));
    for (const key of this.#nodes.keys()) if (!used.has(key)) this.#nodes.delete(key);
    nodes.forEach((node, index) => {
      if (this.#list.children[index] !== node) this.#list.insertBefore(node, this.#list.children[index] ?? null);
    });
    while (this.#list.children.length > nodes.length) this.#list.lastElementChild.remove();
    this.#keepPlace(anchor);
    this.#afterScroll();
  }

  /** A line for what the server left out; it is fetched on a click, or when a person scrolls to it. */
  #placeGap(gap, previous, take) {
    const count = gap.to - gap.from + 1;
    const words = count === 1 ? '1 message left out' : `${count} messages left out`;
    // From its beginning it is filled, so its end names it.
    const node = take(`gap:${gap.to}`, () => {
      const button = el('button.link', { type: 'button' });
      const line = el('li.gap', {}, button);
      button.onclick = () => this.#loadGap(line);
      return line;
    });
    node.gap = gap;
    node.dataset.count = count;
    if (!node.dataset.state) node.firstChild.textContent = `${words} – load`;
    return previous && { ...previous, sender: null };
  }

  async #loadGap(node) {
    if (node.dataset.state === 'loading') return;
    node.dataset.state = 'loading';
    node.firstChild.textContent = 'Loading…';
    try {
      await this.#app.sync.loadLeftOut(this.#conversationId, node.gap);
      delete node.dataset.state;
    } catch {
      node.dataset.state = 'failed';
      node.firstChild.textContent = 'They could not be loaded. Try again';
    }
    this.render();
  }

  /** At the end a gap is in sight without anybody looking for it: then it waits for a click. */
  #loadGapsInSight() {
    if (this.#atEnd) return;
    const { top, bottom } = this.#scroller.getBoundingClientRect();
    for (const node of this.#list.querySelectorAll('.gap:not([data-state])')) {
      const place = node.getBoundingClientRect();
      if (place.bottom > top && place.top < bottom) this.#loadGap(node);
    }
  }

  /** Adds one message, with what must stand before it; returns it as the next one's `previous`. */
  #place(conversation, message, previous, take, taken) {
    const own = message.seqId === undefined || message.sender === this.#app.store.me;
    // One's own message keeps its node from the first key press to `read`.
    const key = own && message.clientMsgId ? `own:${message.clientMsgId}` : `seq:${message.seqId}`;
    // After a reload of the page a message can be stored already and still wait in the outbox for the word of it.
    if (taken(key)) return previous;
    const day = dayOf(message.createdAt);
    if (!previous || previous.day !== day) {
      const dayKey = `day:${new Date(message.createdAt).toDateString()}`;
      // Clocks differ, so a day may begin twice.
      const separator = take(taken(dayKey) ? `${dayKey}:${key}` : dayKey, () => el('li.day', { role: 'separator' }, el('span')));
      separator.firstChild.textContent = day;
    }
    if (this.#unreadFrom !== null && message.seqId >= this.#unreadFrom && !own && !previous?.past) {
      take('unread', () => el('li.new-line', { role: 'separator' }, el('span', {}, 'New')));
    }
    const sender = own ? this.#app.store.me : message.sender;
    const goesOn = previous !== null && previous.day === day && previous.sender === sender && message.createdAt - previous.at < RUN_MS;
    const node = take(key, () => this.#newNode(message, own, sender));
    node.classList.toggle('goes-on', goesOn);
    this.#paint(node, conversation, message, own, sender);
    const past = previous?.past || (this.#unreadFrom !== null && message.seqId >= this.#unreadFrom);
    return { day, sender, at: message.createdAt, past };
  }

  #newNode(message, own, sender) {
    const parts = {
      avatar: own ? null : avatar(sender, '?'),
      name: own ? null : el('span.sender'),
      text: el('p.text', { dir: 'auto' }, message.content),
      time: el('time'),
      state: own ? el('span.state') : null,
      failure: el('div.not-sent', { hidden: true }),
    };
    const bubble = el('div.bubble', {}, parts.name, parts.text, el('span.meta', {}, parts.time, parts.state));
    const node = el('li.message', { dataset: { own: String(own) } }, parts.avatar, el('div.body', {}, bubble, parts.failure));
    node.parts = parts;
    return node;
  }

  #paint(node, conversation, message, own, sender) {
    const { parts } = node;
    parts.time.textContent = timeOf(message.createdAt);
    parts.time.title = fullTimeOf(message.createdAt);
    parts.time.dateTime = new Date(message.createdAt).toISOString();
    if (message.seqId !== undefined) node.dataset.seq = message.seqId;
    if (!own) {
      const name = this.#app.directory.nameOf(sender);
      parts.name.textContent = name;
      parts.name.hidden = conversation.type === 'single';
      paintAvatar(parts.avatar, sender, name);
      return;
    }
    const readers = message.seqId === undefined ? [] : this.#app.store.readersOf(conversation, message.seqId);
    const state = message.seqId === undefined ? message.state : readers.length > 0 && conversation.type !== 'world' ? 'read' : 'stored';
    if (node.dataset.state !== state) {
      node.dataset.state = state;
      parts.state.replaceChildren(icon(state), el('span.visually-hidden', {}, STATE_WORDS[state]));
      this.#paintFailure(parts.failure, message, state);
    }
    parts.state.title = state === 'read' && conversation.type === 'group'
      ? `Read by ${readers.map((id) => this.#app.directory.nameOf(id)).join(', ')}` : STATE_WORDS[state];
  }

  #paintFailure(box, message, state) {
    box.hidden = state !== 'failed';
    if (state !== 'failed') return box.replaceChildren();
    const { outbox } = this.#app;
    box.replaceChildren(
      el('span', { role: 'alert' }, message.error),
      el('button.link.retry', { type: 'button', onclick: () => outbox.retry(message.clientMsgId) }, 'Retry'),
      el('button.link.discard', { type: 'button', onclick: () => { outbox.discard(message.clientMsgId); announce('Message deleted'); } }, 'Delete'));
  }

  /** The first message in sight and where it stands, so that what is added above does not move it. */
  #anchor() {
    const top = this.#scroller.scrollTop;
    for (const node of this.#list.children) {
      if (node.offsetTop + node.offsetHeight > top) return { node, distance: node.offsetTop - top };
    }
    return null;
  }

  #keepPlace(anchor) {
    if (this.#atEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else if (anchor?.node.isConnected) this.#scroller.scrollTop = anchor.node.offsetTop - anchor.distance;
  }
}
