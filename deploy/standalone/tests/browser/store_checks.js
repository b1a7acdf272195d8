// Body of an async function: checks of store.js and outbox.js, run in the page; returns how many held.
const { Store, singleId, peerOf } = await import('/assets/store.js');
const { Outbox } = await import('/assets/outbox.js');
let held = 0;
function check(what, got, wanted) {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${what}: ${left} instead of ${right}`);
  held += 1;
}
const message = (seqId, sender = '2', conversationId = 'world') => (
  { messageId: String(seqId), conversationId, sender, content: `m${seqId}`, messageType: 'text', seqId, createdAt: 1000 + seqId });
function newStore(lastSeq = 0) {
  const store = new Store();
  store.me = '1';
  store.noteEpoch(1);
  store.applyList([{ conversationId: 'world', type: 'world', name: 'World', lastMessage: null, lastSeq, readSeq: lastSeq, unreadCount: 0, updatedAt: 1 }], true);
  store.holes = 0;
  store.addEventListener('hole', () => { store.holes += 1; });
  return store;
}
const seqs = (store) => store.get('world').messages.map((one) => one.seqId);

check('ids are ordered as numbers', singleId('10', '9'), 'single_9_10');
check('the peer is the other one', [peerOf('single_9_10', '9'), peerOf('single_9_10', '10')], ['10', '9']);

let store = newStore();
for (const seq of [1, 2, 2, 1, 3]) store.receive(message(seq));
check('what is there already is dropped', [seqs(store), store.holes], [[1, 2, 3], 0]);
check('others count as unread', store.unreadTotal, 3);
check('reading says up to where', [store.readAll('world'), store.unreadTotal, store.readAll('world')], [3, 0, null]);

store = newStore();
for (const seq of [1, 4, 3]) store.receive(message(seq));
check('later ones wait behind a hole', [seqs(store), store.holes > 0], [[1], true]);
store.receive(message(2));
check('and follow when it is filled', seqs(store), [1, 2, 3, 4]);

store = newStore();
for (const seq of [1, 5]) store.receive(message(seq));
const page = { conversationId: 'world', messages: [message(2), message(3)], hasMore: false, epoch: 1 };
store.receivePage(page, 3);
check('a page does not settle what it could not know', seqs(store), [1, 2, 3]);
store.receivePage({ ...page, messages: [] }, 5);
check('a page asked for later does', seqs(store), [1, 2, 3, 5]);

store = newStore();
store.receive(message(1));
store.leaveOut('world', 2, 9);
check('what is left out is passed over', [seqs(store), store.get('world').last, store.get('world').gaps, store.holes], [[1], 9, [{ from: 2, to: 9 }], 0]);
check('and counts as unread, and for heads as had', [store.unreadTotal, store.heads(10)], [9, { world: 9 }]);
store.receive(message(10));
check('what follows it is no hole', [seqs(store), store.holes], [[1, 10], 0]);
store.receive(message(5, '1'));
check('one of it that comes splits it', [seqs(store), store.get('world').gaps], [[1, 5, 10], [{ from: 2, to: 4 }, { from: 6, to: 9 }]]);
store.receiveLeftOut('world', 2, 4, [message(2), message(3)], true);
check('a page of it closes it from its beginning', [seqs(store), store.get('world').gaps], [[1, 2, 3, 5, 10], [{ from: 4, to: 4 }, { from: 6, to: 9 }]]);
store.receiveLeftOut('world', 4, 4, [message(4)], true);
store.receiveLeftOut('world', 6, 9, [message(7)], false);
check('a last page closes it whole', [seqs(store), store.get('world').gaps], [[1, 2, 3, 4, 5, 7, 10], []]);
store.leaveOut('world', 3, 10);
check('what is here is not left out', [store.get('world').last, store.get('world').gaps], [10, []]);

store = newStore();
store.receive(message(1));
store.leaveOut('world', 4, 6);
check('a gap behind a hole waits for it', [store.get('world').last, store.holes > 0], [1, true]);
store.receive(message(5));
store.receive(message(2));
store.receive(message(3));
check('and keeps what came of it', [seqs(store), store.get('world').gaps, store.get('world').last], [[1, 2, 3, 5], [{ from: 4, to: 4 }, { from: 6, to: 6 }], 6]);
store.readAll('world');
check('reading reads over it', store.unreadTotal, 0);

store = newStore();
store.leaveOut('world', 1, 3);
store.receive(message(4));
check('a gap before the first message is for the older ones', [store.get('world').gaps, store.get('world').complete], [[], false]);

store = newStore(7);
store.receiveOlder('world', [message(6), message(5), message(7)], true);
check('older ones go to the front in order', [seqs(store), store.get('world').complete, store.unreadTotal], [[5, 6, 7], false, 0]);
check('heads tell the newest delivered', store.heads(10), { world: 7 });

store = newStore();
store.receive(message(1, '1'));
store.receive(message(2, '3'));
check('own messages are read by their writer', [store.get('world').readSeq, store.unreadTotal], [1, 1]);
check('who writes has read what was before', store.readersOf(store.get('world'), 1), ['3']);
store.receive(message(1, '2', 'single_1_2'));
check('a stray waits for the list', store.get('single_1_2'), undefined);
store.applyList([{ conversationId: 'single_1_2', type: 'single', name: 'Two', lastMessage: null, lastSeq: 0, readSeq: 0, unreadCount: 0, updatedAt: 2 }], false);
check('and is taken then', store.get('single_1_2').messages.length, 1);
store.leave('single_1_2');
check('what was left is not shown, but heads tell of it', [store.shown().map((one) => one.id), store.heads(10)], [['world'], { world: 2, single_1_2: 1 }]);
store.receipt('world', '3', 5);
check('what was read exists', [store.get('world').head, store.holes > 0], [5, true]);
check('another epoch drops all', [store.noteEpoch(2), store.conversations.size], [true, 0]);

sessionStorage.removeItem('gochat.outbox.checks');
let sent = [];
let outbox = new Outbox('checks', (entry) => sent.push(entry.clientMsgId) > 0);
const [a, b, c] = ['a', 'b', 'c'].map((content) => outbox.add('world', content).clientMsgId);
check('nothing goes out unconnected', sent, []);
outbox.opened();
check('then all go in order', sent, [a, b, c]);
outbox.acknowledged({ tempMessageId: a, status: 'accepted' });
outbox.closed();
sent = [];
outbox.opened();
check('a reconnect repeats what is not final, with the same ids', sent, [a, b, c]);
check('stored ends it', [outbox.acknowledged({ tempMessageId: a, status: 'stored', seqId: 1 }).content, outbox.size], ['a', 2]);
sent = [];
const again = new Promise((done) => {
  const look = setInterval(() => { if (sent.length >= 2) { clearInterval(look); done(); } }, 5);
});
outbox.acknowledged({ tempMessageId: b, status: 'retry', retryAfterMs: 20 });
outbox.acknowledged({ tempMessageId: c, status: 'retry', retryAfterMs: 20 });
const d = outbox.add('world', 'd').clientMsgId;
check('after `retry` nothing overtakes', sent, []);
await again;
check('and the order is kept', sent, [b, c, d]);
outbox.acknowledged({ tempMessageId: b, status: 'rejected', message: 'No.' });
check('a refusal says why', outbox.of('world').map((entry) => [entry.state, entry.error]), [['failed', 'No.'], ['sending', null], ['sending', null]]);
outbox.stop();
outbox = new Outbox('checks', () => true);
check('a reload keeps what waits', outbox.of('world').map((entry) => entry.content), ['b', 'c', 'd']);
outbox.retry(b);
check('a new try is a new message behind the others', outbox.of('world').map((entry) => entry.clientMsgId === b), [false, false, false]);
outbox.settled({ conversationId: 'world', clientMsgId: c });
check('its own delivery ends it too', outbox.of('world').map((entry) => entry.content), ['d', 'b']);
outbox.stop();
sessionStorage.removeItem('gochat.outbox.checks');
return held;
