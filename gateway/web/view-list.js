// The left side: who I am, whether I am connected, finding a person, and the conversations with their last message and unread count.

import { avatar, el, icon, paintAvatar, perFrame } from './dom.js';
import { shortTimeOf } from './time.js';

const STATE_WORDS = { online: 'Connected', connecting: 'Connecting…', waiting: 'Not connected', stopped: 'Not connected' };

export class ListView {
  #app;
  #rows = new Map();
  #list = el('ul.conversations', { id: 'conversations', 'aria-label': 'Conversations' });
  #empty = el('p.empty-list', { hidden: true }, 'Nothing here yet. Find a person above, or start a group.');
  #state = el('p.connection', { id: 'connection', role: 'status' });
  #me = el('span.me-name');
  #meAvatar = avatar('0', '?');
  #find = el('input', {
    type: 'search', id: 'find-user', name: 'find-user', autocomplete: 'off', spellcheck: false, maxLength: 50,
    placeholder: 'Find a person by username', 'aria-label': 'Find a person by username', enterKeyHint: 'search',
  });
  #findFailure = el('p.failure', { role: 'alert', hidden: true });
  element;

  constructor(app) {
    this.#app = app;
    this.#find.setAttribute('autocapitalize', 'none');
    this.#find.oninput = () => { this.#findFailure.hidden = true; };
    const dialogs = app.dialogs;
    this.element = el('section.list-pane', { 'aria-label': 'Conversations' },
      el('header.pane-head', {},
        el('button.face', { type: 'button', id: 'account', title: 'Your account', 'aria-label': 'Your account', onclick: () => dialogs.account() }, this.#meAvatar),
        el('div.me', {}, this.#me, this.#state),
        el('button.icon-button', { type: 'button', id: 'new-group', title: 'New group', 'aria-label': 'New group', onclick: () => dialogs.newGroup() }, icon('people')),
        el('button.icon-button', { type: 'button', id: 'log-out', title: 'Log out', 'aria-label': 'Log out', onclick: () => app.logOut() }, icon('out'))),
      el('form.find', { role: 'search', onsubmit: (event) => this.#findUser(event) }, this.#find,
        el('button.icon-button.filled', { type: 'submit', title: 'Start a chat', 'aria-label': 'Start a chat' }, icon('plus'))),
      this.#findFailure, this.#empty, this.#list);
    this.#list.addEventListener('keydown', (event) => this.#moveFocus(event));
    const render = perFrame(() => this.render());
    app.store.addEventListener('change', render);
    app.directory.addEventListener('change', render);
    app.outbox.addEventListener('change', render);
    app.connection.addEventListener('state', () => this.#renderState());
    this.#renderState();
  }

  async #findUser(event) {
    event.preventDefault();
    const username = this.#find.value.trim();
    if (username === '') return;
    try {
      const user = await this.#app.findUser(username);
      this.#find.value = '';
      this.#app.openChatWith(user);
    } catch (error) {
      this.#findFailure.textContent = error.message;
      this.#findFailure.hidden = false;
    }
  }

  #renderState() {
    const { state } = this.#app.connection;
    this.#state.dataset.state = state;
    this.#state.textContent = STATE_WORDS[state];
  }

  render() {
    const { store, me } = this.#app;
    if (me) {
      this.#me.textContent = me.displayName || me.username;
      this.#me.title = `@${me.username}`;
      paintAvatar(this.#meAvatar, me.userId, me.displayName || me.username);
    }
    const conversations = store.shown((id) => this.#app.keeps(id));
    this.#empty.hidden = conversations.length > 0;
    const rows = conversations.map((conversation) => this.#row(conversation));
    const ids = new Set(conversations.map((conversation) => conversation.id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    // Only rows that moved are touched, so that the keyboard's focus stays where it is.
    const focused = document.activeElement;
    rows.forEach((row, index) => {
      if (this.#list.children[index] !== row) this.#list.insertBefore(row, this.#list.children[index] ?? null);
    });
    while (this.#list.children.length > rows.length) this.#list.lastElementChild.remove();
    if (focused !== document.activeElement && this.#list.contains(focused)) focused.focus();
  }

  #row(conversation) {
    let row = this.#rows.get(conversation.id);
    if (!row) {
      row = this.#newRow(conversation);
      this.#rows.set(conversation.id, row);
    }
    const { parts } = row;
    const name = this.#app.titleOf(conversation);
    const last = conversation.messages[conversation.messages.length - 1];
    const open = this.#app.openId === conversation.id;
    paintAvatar(parts.avatar, this.#app.faceOf(conversation), name, conversation.type);
    parts.name.textContent = name;
    parts.time.textContent = last ? shortTimeOf(last.createdAt) : '';
    parts.last.textContent = this.#lastLine(conversation, last);
    parts.unread.hidden = conversation.unread === 0;
    parts.unread.textContent = conversation.unread > 999 ? '999+' : String(conversation.unread);
    parts.unread.setAttribute('aria-label', `${conversation.unread} unread`);
    row.classList.toggle('open', open);
    row.classList.toggle('has-unread', conversation.unread > 0);
    if (open) parts.button.setAttribute('aria-current', 'true');
    else parts.button.removeAttribute('aria-current');
    return row;
  }

  #newRow(conversation) {
    const parts = {
      avatar: avatar(conversation.id, '?'), name: el('span.row-name'), time: el('span.row-time'), last: el('span.row-last'), unread: el('span.unread'),
    };
    parts.button = el('button.row', { type: 'button', onclick: () => this.#app.open(conversation.id) },
      parts.avatar,
      el('span.row-text', {},
        el('span.row-line', {}, parts.name, parts.time),
        el('span.row-line', {}, parts.last, parts.unread)));
    const row = el('li', { dataset: { conversation: conversation.id, type: conversation.type } }, parts.button);
    row.parts = parts;
    return row;
  }

  #lastLine(conversation, last) {
    const waiting = this.#app.outbox.of(conversation.id);
    if (waiting.some((entry) => entry.state === 'failed')) return 'A message was not sent';
    if (waiting.length > 0) return `You: ${waiting[waiting.length - 1].content}`;
    if (!last) return conversation.draft ? 'Say hello' : 'No messages yet';
    if (last.sender === this.#app.store.me) return `You: ${last.content}`;
    return conversation.type === 'single' ? last.content : `${this.#app.directory.nameOf(last.sender)}: ${last.content}`;
  }

  #moveFocus(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...this.#list.querySelectorAll('button.row')];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}
