// The first screen: log in, or make an account.

import { el } from './dom.js';

const field = (label, input, hint) => el('label.field', {}, el('span.field-label', {}, label), input, hint ? el('span.hint', {}, hint) : null);

/** `done` is called once a login is kept in `api`. `notice` is shown above the form, such as why the person was signed out. */
export function signInView(api, done, notice = '') {
  const root = el('main.sign-in');
  let registering = location.hash === '#register';

  function render(values = {}) {
    const username = el('input', {
      name: 'username', autocomplete: 'username', required: true, minLength: 3, maxLength: 50,
      pattern: '[A-Za-z0-9_.\\-]+', title: 'Letters, digits, dot, dash and underscore', spellcheck: false, value: values.username ?? '',
    });
    username.setAttribute('autocapitalize', 'none');
    const password = el('input', {
      name: 'password', type: 'password', required: true, minLength: registering ? 8 : 1, maxLength: 128,
      autocomplete: registering ? 'new-password' : 'current-password',
    });
    const email = el('input', { name: 'email', type: 'email', autocomplete: 'email', required: true, maxLength: 100, value: values.email ?? '' });
    const displayName = el('input', { name: 'displayName', autocomplete: 'name', maxLength: 100, value: values.displayName ?? '' });
    const failure = el('p.failure', { role: 'alert', hidden: !notice }, notice);
    notice = '';
    const submit = el('button.primary.wide', { type: 'submit' }, registering ? 'Create account' : 'Log in');
    const form = el('form', { onsubmit: send },
      field('Username', username, registering ? '3 to 50 letters, digits, dots, dashes or underscores' : null),
      registering ? field('Email', email) : null,
      registering ? field('Name that others see (optional)', displayName) : null,
      field('Password', password, registering ? 'At least 8 characters' : null),
      failure, submit);
    const other = el('button.link', { type: 'button', id: 'switch-form' }, registering ? 'I have an account: log in' : 'New here? Create an account');
    other.onclick = () => {
      registering = !registering;
      render({ username: username.value, email: email.value });
    };
    root.replaceChildren(el('div.card', {},
      el('header.brand', {}, el('img', { src: '/assets/icon.svg', alt: '', width: 48, height: 48 }), el('h1', {}, 'GoChat'),
        el('p.tagline', {}, 'Chat with one person, a group or everybody.')),
      form, other));
    // The first time this runs before the form is on the page.
    queueMicrotask(() => username.focus());

    /** The server asks for a pause: the button says how long, and works again after it. */
    function waitOut(until) {
      const words = submit.textContent;
      const timer = setInterval(show, 250);
      show();
      function show() {
        const seconds = Math.ceil((until - Date.now()) / 1000);
        if (seconds <= 0 || !submit.isConnected) clearInterval(timer);
        submit.disabled = seconds > 0;
        submit.textContent = seconds > 0 ? `Try again in ${seconds} s` : words;
      }
    }

    async function send(event) {
      event.preventDefault();
      failure.hidden = true;
      submit.disabled = true;
      try {
        const name = username.value.trim();
        if (registering) {
          const account = { username: name, email: email.value.trim(), password: password.value };
          if (displayName.value.trim()) account.displayName = displayName.value.trim();
          await api.register(account);
          // Should the login fail now, the next try is a login: the account is there.
          registering = false;
        }
        await api.signIn(name, password.value);
        done();
      } catch (error) {
        failure.textContent = error.message;
        failure.hidden = false;
        if (error.retryAfterMs > 0) waitOut(Date.now() + error.retryAfterMs);
        else submit.disabled = false;
        (error.code === 1007 ? username : password).focus();
      }
    }
  }

  render();
  return root;
}
