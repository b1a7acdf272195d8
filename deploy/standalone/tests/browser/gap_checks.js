// Body of an async function: checks of what the page shows of messages that the server left out; returns how many held.
const { Store } = await import('/assets/store.js');
const { MessagesView } = await import('/assets/view-messages.js');
let held = 0;
function check(what, got, wanted) {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`${what}: ${left} instead of ${right}`);
  held += 1;
}
const message = (seqId) => (
  { messageId: String(seqId), conversationId: 'world', sender: '2', content: `m${seqId}`, messageType: 'text', seqId, createdAt: 1_000_000 + seqId });
const store = new Store();
store.me = '1';
store.applyList([{ conversationId: 'world', type: 'world', name: 'World', lastMessage: null, lastSeq: 0, readSeq: 0, unreadCount: 0, updatedAt: 1 }], true);
const loads = [];
let fails = true;
const sync = new EventTarget();
sync.markRead = () => undefined;
sync.loadOlder = async () => undefined;
sync.loadLeftOut = async (id, { from, to }) => {
  loads.push([id, from, to]);
  if (fails) throw new Error('unreachable');
  const top = Math.min(to, from + 49);
  store.receiveLeftOut(id, from, to, Array.from({ length: top - from + 1 }, (_, at) => message(from + at)), top < to);
};
const outbox = Object.assign(new EventTarget(), { of: () => [] });
const directory = Object.assign(new EventTarget(), { nameOf: () => 'Two' });
const view = new MessagesView({ store, outbox, directory, sync });
const stage = document.createElement('div');
stage.style.cssText = 'position: fixed; inset: 0 0 auto 0; height: 300px; display: flex; flex-direction: column;';
stage.append(view.element);
document.body.append(stage);

for (let seq = 1; seq <= 30; seq += 1) store.receive(message(seq));
store.leaveOut('world', 31, 90);
for (let seq = 91; seq <= 120; seq += 1) store.receive(message(seq));
store.leaveOut('world', 121, 121);
view.show('world');
const lines = () => [...view.element.querySelectorAll('.gap')].map((line) => line.textContent);
const shown = () => view.element.querySelectorAll('.message').length;
const order = () => [...view.element.querySelectorAll('.message .text')].map((text) => Number(text.textContent.slice(1)));
const until = async (what, holds) => {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 200) throw new Error(`${what}: ${lines()} ${shown()}`);
    await new Promise((done) => { setTimeout(done, 20); });
  }
  held += 1;
};
check('each gap is a line in its place', [lines(), shown()], [['60 messages left out – load', '1 message left out – load'], 60]);
check('it stands between its neighbours', view.element.querySelector('.gap').previousElementSibling.querySelector('.text').textContent, 'm30');
const scroller = view.element.querySelector('.scroller');
stage.style.height = '160px';
scroller.dispatchEvent(new Event('scroll'));
check('a keyboard that opens leaves the newest in sight', scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2, true);
stage.style.height = '300px';
scroller.dispatchEvent(new Event('scroll'));
check('nobody asked for it yet', loads, []);

view.element.querySelector('.gap:last-child button').click();
await until('what failed says so', () => lines()[1] === 'They could not be loaded. Try again');
fails = false;
view.element.querySelector('.gap:last-child button').click();
await until('a click loads it', () => lines().length === 1 && shown() === 61);

const line = view.element.querySelector('.gap');
scroller.scrollTop = line.offsetTop - 100;
await until('scrolling to it loads it', () => shown() === 111 || shown() === 121);
scroller.scrollTop = (view.element.querySelector('.gap')?.offsetTop ?? 100) - 100;
await until('page by page', () => lines().length === 0 && shown() === 121);
check('in order', order(), Array.from({ length: 121 }, (_, at) => at + 1));
check('each page was asked for once', loads.slice(2), [['world', 31, 90], ['world', 81, 90]]);
stage.remove();
return held;
