// Starts the page: the first screen, or the chat with its parts wired together.

import { Api } from './api.js';
import { Connection } from './connection.js';
import { Directory } from './directory.js';
import { Outbox } from './outbox.js';
import { peerOf, Store } from './store.js';
import { Sync } from './sync.js';
import { announce, el, perFrame } from './dom.js';
import { ChatView } from './view-chat.js';
import { Dialogs } from './view-dialogs.js';
import { ListView } from './view-list.js';
import { signInView } from './view-sign-in.js';

/** A sentence for the first screen, such as why the person was signed out. */
const NOTICE_KEPT_UNDER = 'gochat.notice';
const LOG_OUT_WAIT_MS = 2000;
/** Why the server put this device out, in words for a person; for any other reason the server's own. */
const KICKED_WORDS = {
  logout: 'You were logged out.',
  banned: 'This account has been banned.',
  'password-changed': 'The password of this account was changed. Please log in with the new one.',
  'token-reused': 'This login was used from another place too, so it was ended to be safe. Please log in again.',
};

const root = document.getElementById('root');
const api = new Api();

/** What the views share. It lives from a login to its end; event `member-count` when a group's subtitle changed. */
class App extends EventTarget {
  api = api;
  store = new Store();
  directory = new Directory(api);
  me = null;
  /** Id of the conversation on screen, or null. */
  openId = null;
  /** Of the connection: another login since then may have ended its token. */
  #loginNumber = 0;
  #memberCounts = new Map();
  #badSince = 0;
  #bannerParts = {
    words: el('span'),
    // Hidden from screen readers: they would read every second aloud.
    countdown: el('span', { 'aria-hidden': 'true' }),
    kept: el('span'),
    again: el('button.link', { type: 'button', onclick: () => this.connection.retryNow() }, 'Try now'),
  };
  #banner = el('div.banner', { id: 'banner', role: 'status', hidden: true }, ...Object.values(this.#bannerParts));
  #chat;
  #shell;

  constructor() {
    super();
    const userId = api.userId;
    this.store.me = userId;
    this.outbox = new Outbox(userId, (entry) => this.connection.send('send-message', {
      conversationId: entry.conversationId, content: entry.content, messageType: 'text', clientMsgId: entry.clientMsgId,
    }, entry.clientMsgId));
    this.connection = new Connection((failures, tokenEnded) => this.#prepare(failures, tokenEnded));
    this.sync = new Sync(this);
    this.dialogs = new Dialogs(this);
    const list = new ListView(this);
    this.#chat = new ChatView(this);
    this.#shell = el('main.shell', { dataset: { screen: 'list' } }, this.#banner, list.element, this.#chat.element);
    root.replaceChildren(this.#shell);
    this.#listen();
    list.render();
    this.connection.start();
  }

  #listen() {
    addEventListener('hashchange', () => this.#showFromAddress());
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.openId && !document.querySelector('dialog')) this.close();
    });
    this.connection.addEventListener('state', () => this.#renderBanner());
    this.connection.addEventListener('frame', ({ detail }) => { if (detail.type === 'kicked') this.#kicked(detail.data); });
    // A fresh token for the open connection, so that the end of the old one does not end it.
    api.addEventListener('renewed', async () => this.connection.send('auth', { token: await api.accessToken() }, 'auth'));
    setInterval(() => this.#renderBanner(), 500);
    this.sync.addEventListener('list-loaded', () => { if (!this.openId) this.#showFromAddress(); });
    const title = perFrame(() => {
      const unread = this.store.unreadTotal;
      document.title = unread > 0 ? `(${unread}) GoChat` : 'GoChat';
      if (this.openId && this.store.conversations.size > 0 && !this.#canOpen(this.openId)) this.close();
    });
    this.store.addEventListener('change', title);
    this.sync.addEventListener('members-changed', ({ detail }) => {
      if (this.#memberCounts.delete(detail.conversationId) && detail.conversationId === this.openId) this.#countMembers(this.openId);
    });
  }

  async #prepare(failures, tokenEnded) {
    await api.settled();
    this.#loginNumber = api.loginNumber;
    if (!this.me) {
      this.me = await api.me();
      this.directory.note(this.me);
    }
    return this.sync.prepare(failures, tokenEnded);
  }

  /** The server ends this device's login, unless it is the one that this page itself has just replaced. */
  async #kicked({ reason, message }) {
    this.connection.stop();
    await api.settled();
    if (!api.signedIn) return;
    if (api.loginNumber !== this.#loginNumber) return this.connection.start();
    api.forget();
    this.logOut(KICKED_WORDS[reason] ?? message ?? 'Your login was ended.');
  }

  /** Says in words what is wrong and when it is tried again; a glitch of a moment stays silent. */
  #renderBanner() {
    const { state, nextAttemptAt } = this.connection;
    this.#badSince = state === 'online' || state === 'stopped' ? 0 : this.#badSince || Date.now();
    const waiting = this.outbox.size;
    this.#banner.hidden = this.#badSince === 0 || Date.now() - this.#badSince < 700;
    if (this.#banner.hidden) return;
    const { words, countdown, kept, again } = this.#bannerParts;
    const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
    const putOut = nextAttemptAt === Infinity;
    const seconds = Math.max(0, Math.ceil((nextAttemptAt - Date.now()) / 1000));
    say(words, !navigator.onLine ? 'This device is offline.' : state === 'connecting' ? 'Connecting…' : putOut ? 'You are connected in too many other places.' : 'No connection.');
    say(countdown, state === 'waiting' && !putOut ? ` Next try in ${seconds} s.` : '');
    say(kept, waiting === 0 ? '' : waiting === 1 ? ' 1 message waits to be sent.' : ` ${waiting} messages wait to be sent.`);
    again.hidden = state !== 'waiting';
  }

  /** The address names the open conversation, so that the browser's own Back leads from a chat to the list. */
  open(conversationId) {
    if (location.hash === `#${conversationId}`) this.#showFromAddress();
    else location.hash = conversationId;
  }

  close() {
    history.replaceState(null, '', location.pathname);
    this.#showFromAddress();
  }

  /** A group that one was put out of does not vanish under one's eyes, nor while something written for it waits. */
  keeps(id) { return id === this.openId || this.outbox.of(id).length > 0; }

  #canOpen(id) {
    const conversation = this.store.get(id);
    return conversation !== undefined && (!conversation.left || this.keeps(id));
  }

  #showFromAddress() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const id = this.#canOpen(wanted) ? wanted : null;
    const before = this.openId;
    this.openId = id;
    this.#shell.dataset.screen = id ? 'chat' : 'list';
    this.#chat.show(id);
    this.store.dispatchEvent(new CustomEvent('change', { detail: { conversationId: null } }));
    if (id && this.store.get(id).type === 'group') this.#countMembers(id);
    if (!id && before) document.querySelector(`[data-conversation="${CSS.escape(before)}"] button`)?.focus();
  }

  async findUser(username) {
    const user = await api.userByName(username);
    this.directory.note(user);
    return user;
  }

  openChatWith(user) {
    if (user.userId === this.store.me) return announce('That is you. Find somebody else to chat with.');
    return this.open(this.store.beginSingle(user.userId));
  }

  leftConversation(conversationId) {
    this.store.leave(conversationId);
    this.sync.reloadList().catch(() => undefined);
    if (this.openId === conversationId) this.close();
  }

  async #countMembers(conversationId) {
    if (this.#memberCounts.has(conversationId)) return;
    try {
      const { members, nextCursor } = await api.members(conversationId.slice('group_'.length));
      this.directory.note(...members);
      this.noteMemberCount(conversationId, members.length, Boolean(nextCursor));
    } catch {
      // The subtitle then says just what it is.
    }
  }

  noteMemberCount(conversationId, count, more) {
    this.#memberCounts.set(conversationId, count === 1 ? '1 member' : `${count}${more ? '+' : ''} members`);
    this.dispatchEvent(new Event('member-count'));
  }

  titleOf(conversation) {
    if (conversation.type === 'world') return 'World';
    if (conversation.type === 'group') return conversation.name || 'Group';
    const name = this.directory.nameOf(peerOf(conversation.id, this.store.me));
    return name === '…' ? conversation.name || name : name;
  }

  subtitleOf(conversation) {
    if (conversation.type === 'world') return 'Everybody on this server';
    if (conversation.left) return 'You are no longer a member';
    if (conversation.type === 'group') return this.#memberCounts.get(conversation.id) ?? 'Group';
    const peer = this.directory.user(peerOf(conversation.id, this.store.me));
    return peer?.username ? `@${peer.username}` : '';
  }

  /** Whose colour stands for a conversation. */
  faceOf(conversation) {
    return conversation.type === 'single' ? peerOf(conversation.id, this.store.me) : conversation.id;
  }

  /** What waits in the outbox is kept for this user in this tab. */
  #waitingWords() {
    const { size } = this.outbox;
    return size === 0 ? '' : ` ${size === 1 ? 'One message of yours waits' : `${size} messages of yours wait`} here until you are back.`;
  }

  /** Ends by loading the page anew, so that nothing of this user stays in memory. */
  async logOut(notice) {
    this.connection.stop();
    this.sync.stop();
    if (typeof notice === 'string') sessionStorage.setItem(NOTICE_KEPT_UNDER, `${notice}${this.#waitingWords()}`);
    await Promise.race([api.signOut(), new Promise((done) => { setTimeout(done, LOG_OUT_WAIT_MS); })]);
    location.replace('/');
  }
}

let app = null;

function begin() {
  if (api.signedIn) {
    app = new App();
    return;
  }
  const notice = sessionStorage.getItem(NOTICE_KEPT_UNDER) ?? '';
  sessionStorage.removeItem(NOTICE_KEPT_UNDER);
  root.replaceChildren(signInView(api, begin, notice));
}

api.addEventListener('signed-out', ({ detail }) => app?.logOut(detail.notice));
begin();
