// The right side: the open conversation's head, its messages and the place to write.

import { announce, avatar, el, icon, paintAvatar, perFrame } from './dom.js';
import { MessagesView } from './view-messages.js';

const COUNTER_FROM = 0.8;
/** A shorter pause is over before it is read. */
const HELD_SHOWN_MS = 1500;
const utf8 = new TextEncoder();

export class ChatView {
  #app;
  #id = null;
  /** conversationId → text begun and not sent. */
  #drafts;
  #messages;
  #avatar = avatar('0', '?');
  #name = el('h2', { id: 'chat-name', tabIndex: -1 });
  #subtitle = el('p.subtitle');
  #members = el('button.icon-button', { type: 'button', id: 'show-members', title: 'Members', 'aria-label': 'Members' }, icon('people'));
  #text = el('textarea', {
    id: 'compose', rows: 1, placeholder: 'Write a message', 'aria-label': 'Write a message', 'aria-describedby': 'compose-note', enterKeyHint: 'send',
  });
  #noteTimer = 0;
  #send = el('button.icon-button.filled', { type: 'submit', id: 'send', title: 'Send', 'aria-label': 'Send' }, icon('send'));
  #note = el('p.compose-note', { id: 'compose-note', role: 'status' });
  #form;
  /** Stands in the place of the composer. */
  #readOnly = el('p.read-only', { id: 'read-only', role: 'status' });
  #chat;
  #none = el('div.no-chat', {},
    el('img', { src: '/assets/icon.svg', alt: '', width: 72, height: 72 }),
    el('h2', {}, 'Choose a conversation'),
    el('p', {}, 'Or find a person by username, start a group, or say hello to the world.'));
  element;

  constructor(app) {
    this.#app = app;
    this.#drafts = this.#keptDrafts();
    addEventListener('pagehide', () => this.#keepDrafts());
    this.#messages = new MessagesView(app);
    this.#members.onclick = () => app.dialogs.members(this.#id);
    this.#text.oninput = () => this.#sized();
    this.#text.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    };
    this.#form = el('form.composer', { onsubmit: (event) => { event.preventDefault(); this.#submit(); } }, this.#text, this.#send);
    this.#chat = el('div.chat', {},
      el('header.pane-head', {},
        el('button.icon-button.back', { type: 'button', id: 'back', title: 'Back to the list', 'aria-label': 'Back to the list', onclick: () => app.close() }, icon('back')),
        this.#avatar, el('div.chat-title', {}, this.#name, this.#subtitle), this.#members),
      this.#messages.element, this.#note, this.#form, this.#readOnly);
    this.element = el('section.chat-pane', { 'aria-label': 'Conversation' }, this.#none, this.#chat);
    const render = perFrame(() => this.#renderHead());
    app.store.addEventListener('change', render);
    app.directory.addEventListener('change', render);
    app.addEventListener('member-count', render);
    app.outbox.addEventListener('change', () => this.#renderNote());
    this.show(null);
  }

  show(conversationId) {
    if (this.#id) this.#drafts.set(this.#id, this.#text.value);
    this.#id = conversationId;
    this.#chat.hidden = conversationId === null;
    this.#none.hidden = conversationId !== null;
    if (conversationId === null) return;
    this.#text.value = this.#drafts.get(conversationId) ?? '';
    this.#sized();
    this.#renderHead();
    this.#messages.show(conversationId);
    // On a phone the keyboard would cover what the person came to read.
    if (matchMedia('(pointer: fine)').matches && !this.#form.hidden) this.#text.focus();
    else this.#name.focus();
  }

  #renderHead() {
    const conversation = this.#app.store.get(this.#id);
    if (!conversation) return;
    const name = this.#app.titleOf(conversation);
    this.#name.textContent = name;
    paintAvatar(this.#avatar, this.#app.faceOf(conversation), name, conversation.type);
    this.#members.hidden = conversation.type !== 'group' || conversation.left;
    this.#renderReadOnly(conversation.left);
    this.#subtitle.textContent = this.#app.subtitleOf(conversation);
  }

  /** Who is no longer a member can read what is here, but not write. */
  #renderReadOnly(left) {
    if (left && document.activeElement === this.#text) this.#name.focus();
    this.#form.hidden = left;
    const sentence = left ? 'You are no longer a member of this group, so you cannot write here.' : '';
    if (this.#readOnly.textContent !== sentence) this.#readOnly.textContent = sentence;
  }

  /** What was begun and not sent outlives a reload and a forced log-out, for its writer and in this tab only. */
  #keptDrafts() {
    try {
      return new Map(JSON.parse(sessionStorage.getItem(this.#draftsKey)));
    } catch {
      return new Map();
    }
  }

  #keepDrafts() {
    if (this.#id) this.#drafts.set(this.#id, this.#text.value);
    const begun = [...this.#drafts].filter(([, text]) => text.trim() !== '');
    try {
      sessionStorage.setItem(this.#draftsKey, JSON.stringify(begun));
    } catch {
      // A full or forbidden sessionStorage costs only what was not sent yet.
    }
  }

  get #draftsKey() { return `gochat.drafts.${this.#app.store.me}`; }

  #submit() {
    const content = this.#text.value.trim();
    if (content === '' || this.#tooLong(content)) return;
    try {
      this.#app.outbox.add(this.#id, content);
    } catch (error) {
      announce(error.message);
      return;
    }
    this.#text.value = '';
    this.#sized();
    this.#messages.scrollToEnd();
    this.#messages.render();
    this.#messages.scrollToEnd();
    this.#text.focus();
  }

  #tooLong(content) { return utf8.encode(content).length > this.#app.sync.maxMessageBytes; }

  /** The box grows with its text, and says so when the text nears the server's bound. */
  #sized() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 160)}px`;
    this.#renderNote();
  }

  #renderNote() {
    const bytes = utf8.encode(this.#text.value.trim()).length;
    const bound = this.#app.sync.maxMessageBytes;
    const heldMs = this.#id === null ? 0 : this.#app.outbox.heldFor(this.#id);
    this.#send.disabled = bytes === 0 || bytes > bound;
    this.#note.textContent = bytes > bound ? `Too long by ${bytes - bound} bytes: please split it.`
      : bytes > bound * COUNTER_FROM ? `${bound - bytes} bytes left`
        : heldMs > HELD_SHOWN_MS ? `The server asks for a pause: your messages go out in ${Math.ceil(heldMs / 1000)} s.` : '';
    this.#note.classList.toggle('over', bytes > bound);
    clearTimeout(this.#noteTimer);
    if (heldMs > 0) this.#noteTimer = setTimeout(() => this.#renderNote(), Math.min(1000, heldMs + 10));
  }
}
