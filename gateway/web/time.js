// Times as people say them, in the browser's language and time zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const shortDate = new Intl.DateTimeFormat(undefined, { day: '2-digit', month: '2-digit', year: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

const DAY_MS = 86_400_000;

function daysAgo(ms, nowMs) {
  const midnight = (value) => new Date(value).setHours(0, 0, 0, 0);
  return Math.round((midnight(nowMs) - midnight(ms)) / DAY_MS);
}

export const timeOf = (ms) => clock.format(ms);
export const fullTimeOf = (ms) => full.format(ms);

/** The words of a day separator. */
export function dayOf(ms, nowMs = Date.now()) {
  const days = daysAgo(ms, nowMs);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return days < 7 ? weekday.format(ms) : date.format(ms);
}

/** What fits beside a conversation's name. */
export function shortTimeOf(ms, nowMs = Date.now()) {
  const days = daysAgo(ms, nowMs);
  if (days <= 0) return clock.format(ms);
  if (days === 1) return 'Yesterday';
  return days < 7 ? weekday.format(ms) : shortDate.format(ms);
}

/** Between `low` and `high` times the value, so that many pages never act at one moment. */
export function jittered(ms, low = 0.8, high = 1.2) {
  return Math.round(ms * (low + Math.random() * (high - low)));
}
