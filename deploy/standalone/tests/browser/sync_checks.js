// Body of an async function: checks of sync.js against a connection and an API made up here; returns how many held.
const { Store } = await import('/assets/store.js');
const { Sync } = await import('/assets/sync.js');
let held = 0;
function check(what, got, wanted) {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${what}: ${left} instead of ${right}`);
  held += 1;
}
const message = (seqId, sender = '2') => (
  { messageId: String(seqId), conversationId: 'world', sender, content: `m${seqId}`, messageType: 'text', seqId, createdAt: 1000 + seqId });

const connection = new EventTarget();
const sent = [];
const waiting = [];
connection.send = (type, data) => {
  const at = waiting.findIndex((one) => one.type === type);
  if (at >= 0) waiting.splice(at, 1)[0].found(data);
  else sent.push({ type, data });
  return true;
};
/** The next frame of a type that the page sends, or sent and nobody asked for yet. */
const frame = (type) => new Promise((found) => {
  const at = sent.findIndex((one) => one.type === type);
  if (at >= 0) found(sent.splice(at, 1)[0].data);
  else waiting.push({ type, found });
});
const tell = (type, data, id) => connection.dispatchEvent(new CustomEvent('frame', { detail: { type, data, id, timestamp: 5000 } }));
const hello = (epoch) => tell('hello', { epoch, maxMessageBytes: 4096, headsIntervalMs: 3_600_000 });

let lastSeq = 3;
let lists = 0;
let renewed = 0;
const asked = [];
const api = {
  accessToken: async () => 'token',
  renew: async () => { renewed += 1; },
  messagesAfter: async (conversationId, seq, limit) => {
    asked.push([conversationId, seq, limit]);
    return { messages: [message(seq + 1), message(seq + 2)], hasMore: true };
  },
  conversations: async () => {
    lists += 1;
    return { conversations: [{ conversationId: 'world', type: 'world', name: 'world', lastMessage: null, lastSeq, readSeq: lastSeq, unreadCount: 0, updatedAt: 1 }], nextCursor: null };
  },
};
const told = [];
const outbox = {
  opened: () => told.push('opened'), closed: () => told.push('closed'), stop() {}, settled() {},
  acknowledged: (ack) => (ack.status === 'stored' ? { clientMsgId: ack.tempMessageId, conversationId: 'world', content: 'mine' } : null),
  postponed: (id, afterMs) => told.push(['postponed', id, afterMs]), refused: (id, why) => told.push(['refused', id, why]),
};
const store = new Store();
store.me = '1';
const sync = new Sync({ api, connection, store, outbox, directory: new EventTarget() });
const seqs = () => store.get('world').messages.map((one) => one.seqId);

check('the list comes before the first attempt', [await sync.prepare(0), lists], ['token', 1]);
connection.dispatchEvent(new Event('open'));
check('heads are the first word', await frame('heads'), { conversations: { world: 3 }, pageLimit: 50 });
hello(1);
check('hello opens the outbox and bounds a message', [told, sync.maxMessageBytes], [['opened'], 4096]);

tell('new-message', message(5));
check('a hole is asked for', await frame('sync'), { conversationId: 'world', afterSeq: 3, limit: 50 });
tell('sync-page', { conversationId: 'world', messages: [message(4), message(5)], hasMore: false, epoch: 1 });
check('and filled', seqs(), [4, 5]);

tell('heads', { changed: [{ conversationId: 'world', lastSeq: 8 }], epoch: 1 });
tell('sync-page', { conversationId: 'world', messages: [message(6)], hasMore: true, epoch: 1 });
check('a page that has more is followed at once', await frame('sync'), { conversationId: 'world', afterSeq: 6, limit: 50 });
tell('sync-page', { conversationId: 'world', messages: [message(7), message(8)], hasMore: false, epoch: 1 });
check('until all is there', seqs(), [4, 5, 6, 7, 8]);

tell('message-ack', { tempMessageId: 'a', conversationId: 'world', status: 'stored', messageId: '9', seqId: 9 });
check('an ack shows the message even when its delivery is lost', [seqs().at(-1), store.get('world').messages.at(-1).content], [9, 'mine']);

tell('new-message', message(10));
sync.markRead('world');
check('reading is told', await frame('mark-read'), { conversationId: 'world', seqId: 10 });
hello(1);
check('and told again until it is confirmed', await frame('mark-read'), { conversationId: 'world', seqId: 10 });
tell('receipt', { conversationId: 'world', userId: '1', seqId: 10 });
hello(1);
check('then no more', sent.filter((one) => one.type === 'mark-read'), []);

tell('resync', { delayMs: 1 });
check('resync compares heads', (await frame('heads')).conversations, { world: 10 });
tell('error', { code: 1013, message: 'busy', details: { retryAfterMs: 7 } }, 'b');
tell('error', { code: 1000, message: 'The message is empty.' }, 'c');
check('errors reach their message', told.slice(-2), [['postponed', 'b', 7], ['refused', 'c', 'The message is empty.']]);

tell('error', { code: 1012, message: 'slow down', details: null, retryAfterMs: 9 }, 'd');
check('a rate limit says how long', told.at(-1), ['postponed', 'd', 9]);
tell('error', { code: 1012, message: 'slow down', details: null, retryAfterMs: 1 }, 'heads');
check('and heads are compared after it', (await frame('heads')).conversations, { world: 10 });
tell('new-message', message(12));
check('another hole', await frame('sync'), { conversationId: 'world', afterSeq: 10, limit: 50 });
tell('error', { code: 1012, message: 'slow down', details: null, retryAfterMs: 1 }, 'sync:world');
check('is asked for again after the pause', await frame('sync'), { conversationId: 'world', afterSeq: 10, limit: 50 });
tell('new-message', message(11));

tell('gap', { conversationId: 'world', fromSeq: 13, toSeq: 16 });
tell('new-message', message(17));
check('what is left out is not asked for', [seqs().slice(-2), sent.filter((one) => one.type === 'sync')], [[12, 17], []]);
await sync.loadLeftOut('world', store.get('world').gaps[0]);
check('until somebody wants it', [asked, seqs().slice(-4), store.get('world').gaps], [[['world', 12, 4]], [12, 13, 14, 17], [{ from: 15, to: 16 }]]);
await sync.loadLeftOut('world', store.get('world').gaps[0]);
check('page by page', [asked.at(-1), seqs().slice(-4), store.get('world').gaps], [['world', 14, 2], [14, 15, 16, 17], []]);
check('an ended token is renewed before the next attempt', [await sync.prepare(0, true), renewed], ['token', 1]);

lastSeq = 2;
tell('heads', { changed: [], epoch: 2 });
check('another epoch starts anew', [(await frame('heads')).conversations, seqs(), lists], [{ world: 2 }, [], 2]);
connection.dispatchEvent(new Event('closed'));
check('the outbox knows of the end', told.at(-1), 'closed');
sync.stop();
return held;
