// Builds elements. Text always goes in as text nodes: nothing that a user wrote is ever parsed as HTML.

/**
 * el('button.primary', {type: 'button', onclick: f}, 'Send'): tag and classes, properties, children.
 * A key with a dash, `role`, `for` or `list` becomes an attribute; `dataset` is merged; null children are left out.
 */
export function el(spec, props = {}, ...children) {
  const [tag, ...classes] = spec.split('.');
  const node = document.createElement(tag);
  if (classes.length > 0) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key === 'dataset') Object.assign(node.dataset, value);
    else if (key.includes('-') || key === 'role' || key === 'for' || key === 'list') node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const ICONS = {
  back: 'M15 5l-7 7 7 7',
  send: 'M4 12l16-8-6 16-3-6z',
  plus: 'M12 5v14M5 12h14',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 4.5a3.2 3.2 0 0 1 0 6.2M18 14.5c2 .8 3.2 2.6 3.5 5.5',
  globe: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM3.5 12h17M12 3c3 3 3.5 6 3.5 9s-.5 6-3.5 9c-3-3-3.5-6-3.5-9S9 6 12 3z',
  out: 'M14 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h8M10 12h11M17 8l4 4-4 4',
  close: 'M6 6l12 12M18 6L6 18',
  down: 'M6 10l6 6 6-6',
  sending: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2',
  accepted: 'M5 13l4.5 4.5L19 7',
  stored: 'M2 13l4.5 4.5L16 7M11.5 16l1.5 1.5L22.5 7',
  read: 'M2 13l4.5 4.5L16 7M11.5 16l1.5 1.5L22.5 7',
  failed: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v6M12 16.5v.2',
};

/** A line icon; decorative, so its button or its neighbour carries the words. */
export function icon(name) {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(ns, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A round mark with initials; its hue follows from the id, so a person looks the same everywhere. */
export function avatar(id, name, type = 'single') {
  const node = el('span.avatar', { 'aria-hidden': 'true' });
  paintAvatar(node, id, name, type);
  return node;
}

/** Repaints an avatar in place, once a name is known. */
export function paintAvatar(node, id, name, type = 'single') {
  // FNV-1a: ids of one minute differ in few digits and should not all look alike.
  const mixed = [...String(id)].reduce((hash, letter) => Math.imul(hash ^ letter.codePointAt(0), 16_777_619), 2_166_136_261 | 0);
  const hue = (Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b) >>> 20) & 7;
  node.className = `avatar hue-${hue}`;
  const mark = `${type}:${name}`;
  if (node.dataset.mark === mark) return;
  node.dataset.mark = mark;
  if (type === 'world') return node.replaceChildren(icon('globe'));
  const words = name.trim().split(/[\s_.-]+/).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[words.length - 1]][0] : [...(words[0] ?? '?')].slice(0, 1).join('');
  node.replaceChildren(letters.toLocaleUpperCase());
}

/** Runs `work` at most once per painted frame, however often it is asked for; a hidden tab paints no frames, so a timer stands in. */
export function perFrame(work) {
  let asked = false;
  const run = () => {
    if (!asked) return;
    asked = false;
    work();
  };
  return () => {
    if (asked) return;
    asked = true;
    if (document.visibilityState === 'visible') requestAnimationFrame(run);
    setTimeout(run, 100);
  };
}

/** Tells screen readers and the eye in one line what just happened. */
export function announce(text) {
  let region = document.getElementById('announce');
  if (!region) {
    region = el('div.toast', { id: 'announce', role: 'status', 'aria-live': 'polite' });
    document.body.append(region);
  }
  region.textContent = text;
  region.classList.add('shown');
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => region.classList.remove('shown'), 5000);
}
