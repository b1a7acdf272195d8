// Body of an async function: another device writes. Logs in as `args.username` without touching the page's own login, sends
// `args.texts` to `args.conversationId` (or to the chat with `args.to`), one after the other, and returns when all are stored.
const call = async (method, path, body, token) => {
  const headers = { 'Content-Type': 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
};
const { accessToken, userId } = await call('POST', '/api/auth/login', { username: args.username, password: args.password });
let { conversationId } = args;
if (args.to) {
  const { userId: other } = await call('GET', `/api/users?username=${args.to}`, undefined, accessToken);
  conversationId = BigInt(userId) < BigInt(other) ? `single_${userId}_${other}` : `single_${other}_${userId}`;
}
const socket = new WebSocket(`ws://${location.host}/ws`, ['gochat.v1', `bearer.${accessToken}`]);
await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = failed; });
const speak = (content, clientMsgId) => new Promise((stored, refused) => {
  const send = () => socket.send(JSON.stringify({
    type: 'send-message', data: { conversationId, content, messageType: 'text', clientMsgId }, timestamp: Date.now(),
  }));
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type !== 'message-ack' || frame.data.tempMessageId !== clientMsgId) return;
    const { status, retryAfterMs, message } = frame.data;
    if (status === 'stored') stored();
    else if (status === 'retry') setTimeout(send, retryAfterMs);
    else if (status === 'rejected') refused(new Error(message));
  };
  send();
});
for (const [index, text] of args.texts.entries()) await speak(text, `speak-${Date.now()}-${index}`);
socket.close();
return args.texts.length;
