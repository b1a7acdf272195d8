// The windows over the page: one's own account, a new group, and the members of a group.

import { announce, avatar, el, icon } from './dom.js';

function modal(title, ...children) {
  const dialog = el('dialog.dialog', { 'aria-label': title },
    el('header.dialog-head', {}, el('h2', {}, title),
      el('button.icon-button', { type: 'button', title: 'Close', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'))),
    ...children);
  dialog.addEventListener('close', () => dialog.remove());
  // A click on the backdrop hits the dialog itself, one inside hits its children.
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A line with a username to type; `use(user)` is called with the one that was found. */
function userPicker(app, use) {
  const input = el('input', { name: 'username', autocomplete: 'off', spellcheck: false, maxLength: 50, placeholder: 'Username', 'aria-label': 'Username of a person to add' });
  input.setAttribute('autocapitalize', 'none');
  const failure = el('p.failure', { role: 'alert', hidden: true });
  const button = el('button.secondary', { type: 'button', onclick: add }, 'Add');
  input.onkeydown = (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    add();
  };
  async function add() {
    const username = input.value.trim();
    if (username === '') return;
    failure.hidden = true;
    button.disabled = true;
    try {
      await use(await app.findUser(username));
      input.value = '';
    } catch (error) {
      failure.textContent = error.message;
      failure.hidden = false;
    }
    button.disabled = false;
    input.focus();
  }
  return el('div.picker', {}, el('div.picker-line', {}, input, button), failure);
}

function person(user, ...after) {
  const name = user.displayName || user.username;
  return el('li.person', { dataset: { user: user.username } }, avatar(user.userId, name),
    el('span.person-name', {}, name, el('small', {}, `@${user.username}`)), ...after);
}

export class Dialogs {
  #app;

  constructor(app) { this.#app = app; }

  account() {
    const { api, me } = this.#app;
    if (!me) return;
    const secret = (name, autocomplete, minLength) => el('input', { name, type: 'password', required: true, autocomplete, minLength, maxLength: 128 });
    const old = secret('old-password', 'current-password', 1);
    const fresh = secret('new-password', 'new-password', 8);
    const again = secret('new-password-again', 'new-password', 8);
    const failure = el('p.failure', { role: 'alert', hidden: true });
    const change = el('button.primary.wide', { type: 'submit' }, 'Change password');
    const field = (label, input, hint) => el('label.field', {}, el('span.field-label', {}, label), input, hint ? el('span.hint', {}, hint) : null);
    const form = el('form', { id: 'change-password', onsubmit: send },
      // Password managers ask for whom.
      el('input.visually-hidden', { name: 'username', autocomplete: 'username', value: me.username, readOnly: true, tabIndex: -1, 'aria-hidden': 'true' }),
      field('Present password', old), field('New password', fresh, 'At least 8 characters'), field('New password once more', again),
      failure, change, el('p.hint', {}, 'All your other devices are logged out.'));
    const dialog = modal('Your account', el('ul.people', {}, person(me)), form);
    old.focus();

    async function send(event) {
      event.preventDefault();
      failure.hidden = true;
      if (fresh.value !== again.value) return fail('The new passwords differ.', again);
      change.disabled = true;
      try {
        await api.changePassword(me.username, old.value, fresh.value);
        dialog.close();
        announce('Your password was changed, and all your other devices were logged out.');
      } catch (error) {
        const wait = error.retryAfterMs > 0 ? ` Please wait ${Math.ceil(error.retryAfterMs / 1000)} s.` : '';
        fail(`${error.message}${wait}`, old);
      }
      return undefined;
    }

    function fail(sentence, input) {
      failure.textContent = sentence;
      failure.hidden = false;
      change.disabled = false;
      input.focus();
    }
  }

  newGroup() {
    const app = this.#app;
    const chosen = new Map();
    const list = el('ul.people', { 'aria-label': 'Members to add' });
    const name = el('input', { name: 'group-name', required: true, maxLength: 100, autocomplete: 'off' });
    const failure = el('p.failure', { role: 'alert', hidden: true });
    const create = el('button.primary.wide', { type: 'submit' }, 'Create group');
    const form = el('form', { onsubmit: send },
      el('label.field', {}, el('span.field-label', {}, 'Name of the group'), name),
      el('span.field-label', {}, 'Members'),
      userPicker(app, async (user) => {
        if (user.userId === app.store.me) throw new Error('You are a member of your own group already.');
        if (chosen.has(user.userId)) return;
        chosen.set(user.userId, user);
        const entry = person(user, el('button.link', {
          type: 'button', 'aria-label': `Leave out ${user.username}`, onclick: () => { chosen.delete(user.userId); entry.remove(); },
        }, 'Remove'));
        list.append(entry);
      }),
      list, failure, create);
    const dialog = modal('New group', form);
    name.focus();

    async function send(event) {
      event.preventDefault();
      create.disabled = true;
      failure.hidden = true;
      try {
        const { conversationId } = await app.api.createGroup(name.value.trim(), [...chosen.keys()]);
        await app.sync.reloadList();
        dialog.close();
        app.open(conversationId);
      } catch (error) {
        failure.textContent = error.message;
        failure.hidden = false;
        create.disabled = false;
      }
    }
  }

  members(conversationId) {
    const app = this.#app;
    const groupId = conversationId.slice('group_'.length);
    const list = el('ul.people', { id: 'members', 'aria-label': 'Members' });
    const more = el('button.link', { type: 'button', hidden: true }, 'Show more');
    const failure = el('p.failure', { role: 'alert', hidden: true });
    const attempt = async (work) => {
      failure.hidden = true;
      try {
        await work();
      } catch (error) {
        failure.textContent = error.message;
        failure.hidden = false;
      }
    };
    let owner = false;

    const load = (cursor) => attempt(async () => {
      const page = await app.api.members(groupId, cursor);
      app.directory.note(...page.members);
      if (!cursor) list.replaceChildren();
      owner ||= page.members.some((member) => member.userId === app.store.me && member.role === 'owner');
      list.append(...page.members.map(row));
      for (const button of list.querySelectorAll('button')) button.hidden = !owner;
      more.hidden = !page.nextCursor;
      more.onclick = () => load(page.nextCursor);
      app.noteMemberCount(conversationId, list.children.length, Boolean(page.nextCursor));
    });
    const row = (member) => person(member,
      member.role === 'owner' ? el('span.badge', {}, 'Owner') : null,
      member.userId === app.store.me ? el('span.badge', {}, 'You') : el('button.link.danger', {
        type: 'button', hidden: true, 'aria-label': `Remove ${member.username}`,
        onclick: () => attempt(async () => { await app.api.removeMember(groupId, member.userId); await load(); }),
      }, 'Remove'));

    const leave = el('button.danger.wide', { type: 'button', id: 'leave-group' }, 'Leave group');
    leave.onclick = () => {
      if (leave.dataset.asked) {
        return attempt(async () => {
          await app.api.removeMember(groupId, app.store.me);
          dialog.close();
          app.leftConversation(conversationId);
          announce('You left the group.');
        });
      }
      leave.dataset.asked = 'yes';
      leave.textContent = 'Really leave? You will not see its messages any more';
      return undefined;
    };
    const dialog = modal('Members', el('div.dialog-body', {},
      userPicker(app, async (user) => { await app.api.addMembers(groupId, [user.userId]); await load(); }),
      failure, list, more, leave));
    const changed = (event) => { if (event.detail.conversationId === conversationId) load(); };
    app.sync.addEventListener('members-changed', changed);
    dialog.addEventListener('close', () => app.sync.removeEventListener('members-changed', changed));
    load();
  }
}
