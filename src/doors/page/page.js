'use strict';

const MAX_SHOWN = 1000;        // messages kept in the document; older ones make way
const PORTION = 200;           // messages put into the document at once; between two portions the page does whatever else is asked of it
const MAX_CHARS = 20000;       // characters shown of one message
const MAX_LINES = 200;         // lines shown of one message
const MAX_LINKS = 20;          // links of one message that can be followed
const MAX_TRACE = 200;         // lines of what passed on the connection
const MAX_VISITED = 8;         // rooms that are offered again
const FILL = 200;              // messages that the page begins with, where the room remembers
const POSITIONS = 'hubcast.positions';   // the subprotocol in which each message begins with a line about its position
// Received text meets a pattern only when it was cut, and no pattern may look at a character more often than a few times.
const NAMED = /^(\S[^\r\n]{0,39}?): ([^]*)$/;   // what stands before the first ": " is a name if it is short
// Controls, and what is not seen itself but reorders, breaks or hides other text. Combining marks, joiners, direction marks and
// soft hyphens belong to the writing of many languages and do none of that.
const LINK = /https?:\/\/[^\s<>"'`\ufffd]+/gi;
const UNSEEN = /(?:(?![\n\t\xad\u061c\u200c-\u200f\p{M}])[\p{Cc}\p{Zl}\p{Zp}\p{DI}])+/gu;
// Milliseconds, as all times below.
const CONNECT_LIMIT = 15e3;    // for one attempt
const BACKOFF_FIRST = 500;     // doubled at each attempt …
const BACKOFF_LAST = 30e3;     // … up to this; up to half of it is then taken off at random
const TOLD_LIMIT = 600e3;      // the longest wait that a server may ask for
const STEADY = 10e3;           // a connection that lasted this long makes the backoff start anew
const RESTART = 20e3;          // as long after a loss its cause is still given for it
const ECHO_LIMIT = 3e3;        // then a message counts as sent, or as doubtful where others had an echo
const HERE_EVERY = 10e3;       // how often a visible page asks how many are here
const SAME_BREATH = 300e3;     // messages of one name within this time share its heading
const BEAT = 5e3;              // how often the page looks at the clock; where it is hidden, browsers make it a minute
const ASLEEP = 75e3;           // a page that has not looked at it for this long was asleep, and its connection may be dead

const $ = (id) => document.getElementById(id);
const path = location.pathname;
const room = clean(decoded(path));
const address = location.origin.replace('http', 'ws') + path;
const nickname = stored('localStorage', 'hubcast.name');
const token = stored('sessionStorage', 'hubcast.token');
const remembers = 'remembers' in document.body.dataset;     // whether the room does
const presence = 'presence' in document.body.dataset;       // whether the server says who is in the room
const place = stored('sessionStorage', `hubcast.place ${path}`);   // the position of the newest message that was shown
const mine = stored('sessionStorage', `hubcast.mine ${path}`);     // positions of own messages

function decoded(path) {
  try { return decodeURIComponent(path); } catch { return path; }
}

// A text as it is shown: with nothing in it that does something unseen.
function clean(text) { return text.replace(UNSEEN, '\ufffd'); }

// A value that outlives a reload where the browser allows it, and otherwise lasts as long as the page.
function stored(area, key) {
  let value = '';
  try { value = window[area].getItem(key) ?? ''; } catch {}
  return {
    get value() { return value; },
    set value(next) {
      value = next;
      try { window[area].setItem(key, next); } catch {}
    },
  };
}

// ---- The connection ----

let socket = null;      // the attempt or connection there is
let reached = '';       // the position up to which everything has come; none where the server tells none
let joinedAs = '';      // the name by which it is shown, where presence is on
let leave = null;       // gives the connection up without a word
let filled = false;     // whether the page has begun with what the room remembers
let attempts = 0;       // since the last steady connection
let retryAt = 0;        // when the next attempt starts; 0 while none is planned
let retryTimer = 0;
let lost = null;        // when and why the connection was lost that had been open
let drop = null;        // gives the connection up at once, as lost at this time
let beatAt = Date.now();

async function connect() {
  clearTimeout(retryTimer);
  retryAt = 0;
  $('countdown').textContent = '…';
  $('retry').hidden = true;
  enter('connecting', attempts || lost ? 'Reconnecting…' : 'Connecting…');
  if (!remembers || await catchUp()) open();
}

function open() {
  joinedAs = shownName();
  const wanted = [
    remembers && (reached ? `since=${reached}` : !filled && `last=${FILL}`),
    presence && joinedAs && `name=${encodeURIComponent(joinedAs)}`,
  ].filter(Boolean).join('&');
  const ws = socket = dial(wanted, remembers ? [POSITIONS] : []);
  const started = Date.now();
  trace('…', wanted ? `connecting with ${wanted}` : 'connecting');
  ws.binaryType = 'arraybuffer';
  const limit = setTimeout(() => ws.close(), CONNECT_LIMIT);
  let steady = 0;
  ws.onopen = () => {
    clearTimeout(limit);
    steady = setTimeout(() => { attempts = 0; }, STEADY);
    filled = true;
    // Without positions nothing can be resumed.
    if (ws.protocol !== POSITIONS) reached = '';
    trace('✓', `open after ${Date.now() - started} ms`);
    onOpen();
  };
  ws.onmessage = ({ data }) => { trace('←', weight(data)); if (ws.protocol === POSITIONS) unwrap(data); else receive(data); };
  const forget = () => {
    clearTimeout(limit);
    clearTimeout(steady);
    ws.onmessage = ws.onclose = null;
    socket = null;
    overdue.length = 0;
  };
  const end = (code, reason, at) => {
    forget();
    trace('×', `closed with ${code} ${reason}`);
    if (steady) onLost(code, reason, at); else onRefused();
  };
  ws.onclose = ({ code, reason }) => end(code, reason);
  // The browser itself would wait for the answer of a server that may be gone.
  drop = (at) => { ws.close(); end(1006, '', at); };
  leave = () => { ws.close(); forget(); };
}

function dial(query, offers) {
  const all = [...offers];
  if (token.value || offers.length) all.push('hubcast');
  if (token.value) all.push(`hubcast.token.${base64url(token.value)}`);
  return new WebSocket(query ? `${address}?${query}` : address, all);
}

function onOpen() {
  enter('open', 'Connected');
  $('trouble').hidden = true;
  if (lost) note(`Connected again after ${duration(Date.now() - lost.at)}.${reached ? '' : ' What was said meanwhile is not shown.'}`);
  lost = null;
  askHere();
}

function onLost(code, reason, at = Date.now()) {
  // The server's own reasons end in what programs read.
  const said = reason.replace(/ ?since=\S+$/, '');
  const [, wait = 0] = /come back in (\d+\.?\d*) s$/.exec(said) ?? [];
  const why = explain(code, wait ? '' : said);
  lost = { at, why };
  flush(Infinity);
  pending.splice(0).forEach(doubt);
  note(why);
  // Ended on purpose by the application: coming back by itself would be arguing.
  if (code === 1000 || code >= 4000) giveUp(why); else retry(why, Number(wait) * 1e3);
}

// Before a connection opens, the browser keeps the server's answer from the page, so a plain request asks again.
async function onRefused() {
  let status = 0;
  try { ({ status } = await ask(path)); } catch {}
  refused(status);
}

function refused(status) {
  const cause = lost && Date.now() - lost.at < RESTART && lost.why;
  if (status === 401) askToken();
  else if (status === 403) giveUp('The server does not let you into this room.');
  else if (status === 429 || status === 503) retry(cause || 'The server takes nobody in at the moment.');
  else if (status) retry('The server answers, but opened no connection; it may be full.');
  else retry(cause || 'The server cannot be reached.');
}

function explain(code, reason) {
  const known = {
    1000: 'The server closed the connection',
    1001: 'The server is restarting',
    1006: 'The connection was lost',
    1008: 'The server disconnected you',
    1009: 'The message was too long for the server',
    1011: 'The server had an error',
    1012: 'The server is restarting',
    1013: 'The server is busy',
  };
  return `${known[code] ?? `The connection was closed with code ${code}`}${reason ? `: ${reason}` : ''}.`;
}

// `told` is how long the server wants it to wait.
function retry(why, told = 0) {
  const most = Math.min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** attempts);
  attempts += 1;
  retryAt = Date.now() + Math.max(most * (1 - Math.random() / 2), Math.min(told, TOLD_LIMIT));
  enter('waiting', 'Reconnecting…');
  trouble(`${why} Reconnecting`, 'Try now');
  tick();
}

function tick() {
  const left = retryAt - Date.now();
  if (left <= 0) return connect();
  $('countdown').textContent = ` in ${Math.ceil(left / 1000)} s`;
  retryTimer = setTimeout(tick, left % 1000 || 1000);
}

function giveUp(why) {
  enter('closed', 'Closed');
  trouble(why, 'Join again');
}

function trouble(why, action) {
  $('why').textContent = clean(why);
  $('countdown').textContent = '';
  $('retry').textContent = action;
  $('retry').hidden = $('trouble').hidden = false;
}

function enter(state, text) {
  document.body.dataset.state = state;
  $('state').textContent = text;
  $('send').setAttribute('aria-disabled', !isOpen());
  if (isOpen()) hint(''); else hideHere();
}

function isOpen() { return document.body.dataset.state === 'open'; }

// The server gives up whoever answers none of its pings, as a sleeping device does, and the word of it may have been lost.
function beat() {
  const last = beatAt;
  beatAt = Date.now();
  if (isOpen() && beatAt - last > ASLEEP) drop(last);
}

$('retry').addEventListener('click', () => { focusWriting(); connect(); });
addEventListener('online', () => { if (retryAt) connect(); else askHere(true); });
setInterval(beat, BEAT);

// ---- What the room remembers ----

// It comes by a plain request, which tells the times as well; the connection then goes on from there. Returns whether one is to
// be opened.
async function catchUp() {
  if (!reached && filled) return true;
  let answer;
  try { answer = await ask(`${path}?${reached ? `since=${reached}` : `last=${FILL}`}`); } catch {}
  if (!answer || [401, 403, 429, 503].includes(answer.status)) {
    refused(answer?.status ?? 0);
    return false;
  }
  // Of an answer that was cut short, or another server's, nothing is taken: the connection itself brings what it can.
  try { recall(await answer.json()); } catch {}
  return true;
}

function recall({ position, oldest, complete, messages }) {
  // After a reload, what the page had shown before it.
  const shown = !reached && place.value;
  const known = shown ? messages.findLastIndex((message) => reaches(shown, message.position)) + 1 : 0;
  const isWhole = reached ? complete
    : !shown || known || !messages.length || (reaches(shown, oldest) && messages.length < FILL);
  if (!isWhole) gap();
  const surplus = Math.max(0, messages.length - MAX_SHOWN);
  gone += surplus;
  const own = new Set(mine.value.split(' '));
  for (const [index, message] of messages.entries()) {
    if (index < surplus) continue;
    if (known && index === known) show({ line: 'New since you were here' });
    const wire = message.text === undefined ? null : trimmed(message.text);
    const said = wire === null ? binary(atob(message.base64).length) : parse(wire);
    // What was sent without an echo is shown anew, where it belongs.
    const sent = unplaced.findIndex((each) => each.wire === wire);
    if (sent >= 0) unplaced.splice(sent, 1)[0].item.remove();
    said.mine = sent >= 0 || own.has(message.position);
    show({ said, at: new Date(message.at), isNew: !!reached && !said.mine });
    if (reached) unread += 1;
  }
  unplaced.length = 0;
  reached = position;
  filled = true;
  keepPlace();
}

// Whether the first of two positions is not before the second. Those of two logs cannot be compared.
function reaches(position, other) {
  const [[log, offset], [otherLog, otherOffset]] = [position, other].map((each) => each.split('-'));
  return log === otherLog && Number(offset) >= Number(otherOffset);
}

// Where positions are told, each message begins with a line of the server's own.
function unwrap(data) {
  const isText = typeof data === 'string';
  const start = isText ? data : String.fromCharCode(...new Uint8Array(data, 0, Math.min(data.byteLength, 200)));
  const end = start.indexOf('\n');
  if (end < 0) return receive(data);
  const [first, ...words] = start.slice(0, end).split(' ');
  if (first === '!at') reached = words[0];
  else if (first === '!gap') { reached = words[1]; gap(); }
  else if (first === '!direct') receive(data.slice(end + 1));
  else if (first[0] !== '!') { reached = first; receive(data.slice(end + 1), first); }
}

function gap() { show({ line: 'Messages are missing here', isGap: true }); }

function keepPlace() { if (reached) place.value = reached; }

function keepOwn(position) { mine.value = [...mine.value.split(' '), position].slice(-FILL).join(' '); }

// ---- The token ----

// A character for each byte of a text, which is what headers and Base64 take.
function bytes(text) { return String.fromCharCode(...new TextEncoder().encode(text)); }

function base64url(text) {
  return btoa(bytes(text)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

// A plain request beside the connection. A token that no header takes is no token of this server's.
function ask(path) {
  const headers = { Accept: 'application/json' };
  if (/^[^\0-\x1f]+$/.test(token.value)) headers.Authorization = `Bearer ${bytes(token.value)}`;
  return fetch(location.origin + path, { headers, cache: 'no-store', signal: AbortSignal.timeout(CONNECT_LIMIT) });
}

function askToken() {
  enter('token', 'Token needed');
  if (token.value) {
    $('gate-help').textContent = 'The server did not accept this token.';
    $('gate-help').className = 'refused';
  }
  token.value = $('token').value = '';
  $('trouble').hidden = $('compose').hidden = true;
  $('gate').hidden = false;
  $('token').focus();
}

$('gate').addEventListener('submit', (event) => {
  event.preventDefault();
  token.value = $('token').value.trim();
  $('gate').hidden = true;
  $('compose').hidden = false;
  focusWriting();
  connect();
});

// ---- Who is here ----

let hereTimer = 0;
let hereAsked = 0;      // only the answer to the latest question counts
let watcher = null;     // the connection that tells who is here, while the list is open
let drawTimer = 0;
const here = presence ? $('who') : $('count');
const people = new Map();   // their names, by their ids

// Where the page has just woken, the question is whether the server can be reached at all, too.
async function askHere(woken) {
  clearTimeout(hereTimer);
  if (!isOpen() || document.hidden) return;
  const asked = ++hereAsked;
  let clients;
  let again = true;
  let answer;
  try {
    answer = await ask(path);
    // Not offered here: the next connection asks again, the clock does not.
    again = answer.ok || answer.status === 429 || answer.status >= 500;
    if (answer.ok) ({ clients } = await answer.json());
  } catch {}
  if (asked !== hereAsked) return;
  if (woken && !answer) return drop(Date.now());
  if (!watcher) showCount(clients);
  if (again) hereTimer = setTimeout(askHere, HERE_EVERY);
}

function hideHere() {
  clearTimeout(hereTimer);
  hereAsked += 1;
  $('here').hidden = true;
  if (watcher) $('people').hidePopover();
}

function showCount(clients) {
  $('here').hidden = !(clients > 0);
  here.textContent = `${clients?.toLocaleString()} here`;
}

// Who is here is followed by a door of its own, which tells only the number where there are very many.
function watch() {
  people.clear();
  const ws = watcher = dial('presence', []);
  let crowd = 0;
  ws.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    crowd = told.clients ?? 0;
    if (told.here || crowd) people.clear();
    for (const { id, name } of [...(told.here ?? []), ...(told.joined ?? [])]) people.set(id, name);
    for (const { id } of told.left ?? []) people.delete(id);
    drawTimer ||= setTimeout(() => { drawTimer = 0; if (watcher === ws) draw(crowd); }, 100);
  };
  ws.onclose = () => { if (watcher === ws) $('people').hidePopover(); };
}

function draw(crowd) {
  const named = new Map();
  for (const name of people.values()) named.set(name, (named.get(name) ?? 0) + 1);
  const nameless = named.get(undefined);
  named.delete(undefined);
  const lines = [...named].sort(([one], [other]) => one.localeCompare(other)).map(([name, n]) => (n > 1 ? `${name} (${n})` : name));
  if (nameless) lines.push(`${nameless.toLocaleString()} without a name`);
  if (crowd) lines.push('They are too many to be listed.');
  $('people').firstElementChild.replaceChildren(...lines.map((line) => {
    const item = document.createElement('li');
    item.textContent = clean(line);
    return item;
  }));
  showCount(crowd || people.size);
}

// As the server takes a name: nothing unseen, and at most 64 bytes; half a character at the end is left out.
function shownName() {
  const seen = cleanName().replace(/[\p{Cc}\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu, '').trim();
  return new TextDecoder().decode(new TextEncoder().encode(seen).subarray(0, 64), { stream: true });
}

// A name is told when a client enters.
function rename() {
  if (!presence || !isOpen() || shownName() === joinedAs) return;
  // An echo that is on its way would be lost.
  if (pending.length) return void setTimeout(rename, 500);
  if (!remembers && list.childElementCount) note(`Entered again as ${shownName() || 'somebody without a name'}. What was said in between is not shown.`);
  leave();
  connect();
}

here.hidden = false;
$('people').addEventListener('toggle', ({ newState }) => {
  watcher?.close();
  watcher = null;
  if (newState === 'open') watch(); else askHere();
});

// ---- Messages in ----

const queue = [];       // received and not yet shown
const pending = [];     // own messages whose echo has not come back, in the order they were sent
const overdue = [];     // own messages that it has not come back for in time; it may yet
const unplaced = [];    // own messages that had none, and that the room may remember
let echoes = false;     // whether this server has been seen to echo
let flushTimer = 0;
let pace = 16;
let gone = 0;           // messages that are no longer shown
let unread = 0;         // arrived while the page was hidden
let unseen = 0;         // arrived below what is scrolled into view

function receive(data, position) {
  const wire = typeof data === 'string' ? trimmed(data) : null;
  const own = takeEcho(wire);
  if (own && position) keepOwn(position);
  // Whatever was sent before has its place by now.
  unplaced.length = 0;
  // What is not shown is not kept either.
  const said = own ? null : wire === null ? binary(data.byteLength) : parse(wire);
  unread += 1;
  show({ said, at: new Date(), own, isNew: !own });
  if (own) trace('↔', `echo after ${Date.now() - own.sentAt} ms`);
}

// Puts a message, or a line of the page's own, behind everything that was received.
function show(entry) {
  queue.push(entry);
  if (queue.length > 2 * MAX_SHOWN) skip();
  flushTimer ||= setTimeout(flush, document.hidden ? 500 : pace);
}

function binary(length) { return { text: `Binary message, ${size(length)}`, data: true }; }

// What would scroll out at once is never put in.
function skip() {
  for (const { own } of queue.splice(0, Math.max(0, queue.length - MAX_SHOWN))) if (own) arrive(own); else gone += 1;
}

// The server keeps each client's order, so an echo is the first pending message with this text, and those before it will not
// have one any more: their timers deal with them.
function takeEcho(received) {
  for (const waiting of [pending, overdue]) {
    const index = waiting.findIndex(({ wire }) => wire === received);
    if (index < 0) continue;
    echoes = true;
    return waiting.splice(index, 1)[0];
  }
  return null;
}

// Shows what is queued, in the room's order: own messages that wait for their echo stay behind everything that has arrived.
function flush(most = PORTION) {
  clearTimeout(flushTimer);
  flushTimer = 0;
  skip();
  noticeScroll();
  // A torrent is shown in fewer and larger pieces, so that time is left to receive it.
  pace = queue.length > 20 ? 100 : 16;
  const batch = document.createDocumentFragment();
  const put = () => list.insertBefore(batch, list.querySelector('.sending'));
  let latest;
  for (const { said, at, own, line, isGap, isNew } of queue.splice(0, most)) {
    if (isNew) latest = said;
    if (own) { put(); arrive(own); }
    else if (line) batch.append(ruled(line, isGap));
    else { batch.append(row(said, at)); unseen += 1; }
  }
  put();
  tidy();
  if (latest && document.hidden) notify(latest);
  keepPlace();
  title();
  if (queue.length) flushTimer = setTimeout(flush, pace);
}

function parse(wire) {
  const { text: start, rest } = shorten(wire);
  const [, name, text = start] = NAMED.exec(start) ?? [];
  return { name, text, rest };
}

// What is shown of a text, and how many characters are not.
function shorten(text) {
  const start = text.slice(0, MAX_CHARS);
  const lines = start.replace(/\r\n?/g, '\n');
  const shown = lines.split('\n', MAX_LINES).join('\n');
  return { text: shown, rest: text.length - start.length + lines.length - shown.length };
}

// Without the line ends that it ends in. A pattern would try again at each line end of a run in its middle.
function trimmed(text) {
  let length = text.length;
  while (length && (text[length - 1] === '\n' || text[length - 1] === '\r')) length -= 1;
  return text.slice(0, length);
}

// ---- The log ----

const list = $('list');
const log = $('log');
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const dated = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
let following = true;   // the newest message stays in view
let lastTop = 0;

function row({ name, text, rest, data, mine }, at) {
  const item = $('row').content.firstElementChild.cloneNode(true);
  const [heading, body, time] = item.querySelectorAll('.name, .text, time');
  item.className = mine ? 'mine' : 'theirs';
  item.classList.toggle('data', data || !text);
  item.sender = mine ? 'me' : name && `_${name}`;
  item.at = at;
  if (mine) {
    heading.textContent = 'You';
    heading.classList.add('aside');
  } else if (name) {
    heading.textContent = clean(name);
    heading.style.setProperty('--hue', hue(name));
  } else {
    heading.remove();
  }
  body.append(...linked(clean(text)));
  if (rest) body.append(`… [${plural(rest, 'more character')}]`);
  if (!text && !rest) body.append('Empty message');
  time.textContent = (at.toDateString() === new Date().toDateString() ? clock : dated).format(at);
  time.title = moment.format(at);
  return item;
}

// A text whose web addresses can be followed. What is read is where it leads.
function linked(text) {
  const parts = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const address = withoutPoint(found);
    if (parts.length >= 2 * MAX_LINKS) break;
    if (address.length > 2000 || !isAddress(address)) continue;
    const link = document.createElement('a');
    link.href = link.textContent = address;
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
    parts.push(text.slice(from, index), link);
    from = index + address.length;
  }
  return [...parts, text.slice(from)];
}

// The end of a sentence is not part of an address in it.
function withoutPoint(address) {
  const ends = address.includes('(') ? '.,:;!?*' : '.,:;!?*)';
  let length = address.length;
  while (ends.includes(address[length - 1])) length -= 1;
  return address.slice(0, length);
}

function isAddress(text) {
  try { return ['http:', 'https:'].includes(new URL(text).protocol); } catch { return false; }
}

function note(text) { show({ line: `${clock.format()} · ${text}` }); }

function ruled(text, isGap) {
  const item = document.createElement('li');
  item.className = isGap ? 'note small gap' : 'note small';
  item.textContent = clean(text);
  return item;
}

// After anything was added: the headings, the cap, the view.
function tidy() {
  $('welcome').hidden = list.childElementCount > 0;
  for (let item = list.lastElementChild; item && !item.tidy; item = item.previousElementSibling) {
    const before = item.previousElementSibling;
    item.tidy = true;
    if (!item.sender || item.sender !== before?.sender || item.at - before.at > SAME_BREATH) continue;
    item.classList.add('more');
    item.querySelector('.name').classList.add('aside');
    // One time for what was said in one minute.
    const [time, earlier] = [item, before].map((each) => each.querySelector('time'));
    time.hidden = time.textContent === earlier.textContent;
  }
  // Counted once: counting again after each removal would visit every message each time.
  for (let surplus = list.childElementCount - MAX_SHOWN; surplus > 0; surplus -= 1, gone += 1) list.firstElementChild.remove();
  $('earlier').hidden = !gone;
  $('earlier').textContent = `No longer shown: ${plural(gone, 'earlier message')}.`;
  $('latest').textContent = `${plural(unseen, 'new message')} ↓`;
  if (following) toEnd(); else $('latest').hidden = !unseen;
}

// Where it went is noted at once: a reader may scroll up before the event comes, and one event then stands for both.
function toEnd() {
  log.scrollTop = log.scrollHeight;
  lastTop = log.scrollTop;
  atEnd();
}

function atEnd() {
  following = true;
  unseen = 0;
  $('latest').hidden = true;
}

// Only scrolling up stops following: the log's own growth does not. The event may come after messages that would take the
// reader back to the end, so the log is looked at before they are shown, too.
function noticeScroll() {
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 40) atEnd();
  else if (log.scrollTop < lastTop) following = false;
  lastTop = log.scrollTop;
}
log.addEventListener('scroll', noticeScroll);
const resized = new ResizeObserver(() => { if (following) toEnd(); });
resized.observe(log);
resized.observe(list);
$('latest').addEventListener('click', () => { toEnd(); focusWriting(); });

function hue(name) {
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return (hash % 12) * 30;
}

function plural(n, word) { return `${n.toLocaleString()} ${word}${n === 1 ? '' : 's'}`; }

function size(bytes) {
  if (bytes < 1024) return plural(bytes, 'byte');
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

function duration(ms) {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

function title() {
  if (!document.hidden) unread = 0;
  document.title = `${unread ? `(${unread}) ` : ''}${room} · hubcast`;
}

// ---- Messages out ----

// A name must survive being read back: one line, and no ": " in it.
function cleanName() { return $('name').value.replace(/\s+/g, ' ').replaceAll(': ', ' ').trim(); }

function send() {
  const text = $('text').value.trimEnd();
  const name = cleanName();
  if (!text) return;
  if (!post(name ? `${name}: ${text}` : text, text)) return;
  $('text').value = '';
  fit();
}

function post(wire, text) {
  if (!isOpen()) { hint('Not connected. What you wrote stays here until it can be sent.'); return false; }
  flush(Infinity);
  socket.send(wire);
  trace('→', weight(wire));
  const own = { wire, text, sentAt: Date.now(), item: row({ ...shorten(text), mine: true }, new Date()) };
  own.item.classList.add('sending');
  own.timer = setTimeout(() => {
    pending.splice(pending.indexOf(own), 1);
    if (!echoes) return misplace(own);
    doubt(own);
    if (overdue.push(own) > MAX_SHOWN) overdue.shift();
  }, ECHO_LIMIT);
  pending.push(own);
  list.append(own.item);
  following = true;
  tidy();
  return true;
}

function settle({ item, timer }) {
  clearTimeout(timer);
  item.classList.remove('sending');
}

// Its echo has come, which tells where it belongs.
function arrive(own) {
  settle(own);
  if (!own.doubts) return;
  const { item } = own;
  own.doubts.remove();
  item.classList.remove('unsure', 'more');
  item.querySelector('time').hidden = item.tidy = false;
  list.insertBefore(item, list.querySelector('.sending'));
}

// Sent, and no echo came.
function misplace(own) {
  settle(own);
  if (unplaced.push(own) > MAX_SHOWN) unplaced.shift();
}

// Sent, but nobody can say whether it arrived.
function doubt(own) {
  misplace(own);
  own.item.classList.add('unsure');
  const again = document.createElement('button');
  again.className = 'plain';
  again.textContent = 'Send again';
  again.addEventListener('click', () => {
    focusWriting();
    if (!post(own.wire, own.text)) return;
    own.item.remove();
    for (const waiting of [overdue, unplaced]) if (waiting.includes(own)) waiting.splice(waiting.indexOf(own), 1);
  });
  own.doubts = document.createElement('div');
  own.doubts.className = 'small';
  own.doubts.append('May not have arrived.', again);
  own.item.append(own.doubts);
}

function hint(text) {
  $('hint').textContent = text;
  $('hint').hidden = !text;
  $('keys').hidden = !!text;
}

// ---- More: rooms, notices, what passes on the connection ----

const visited = stored('localStorage', 'hubcast.rooms');
const notices = stored('localStorage', 'hubcast.notices');
const passed = [];      // what the developer's view shows, as it came
let traceTimer = 0;

function showVisited() {
  const paths = [path, ...visited.value.split(' ').filter((each) => each[0] === '/' && each !== path)].slice(0, MAX_VISITED);
  visited.value = paths.join(' ');
  $('visited').replaceChildren(...paths.map((each) => {
    const item = document.createElement('li');
    const link = document.createElement('a');
    link.href = location.origin + each;
    link.textContent = clean(decoded(each));
    if (each === path) link.setAttribute('aria-current', 'page');
    item.append(link);
    return item;
  }));
}

$('go').addEventListener('submit', (event) => {
  event.preventDefault();
  const names = $('to').value.trim().replace(/^\//, '').split('/');
  location.assign(`${location.origin}/${names.map(encodeURIComponent).join('/')}`);
});

// Permission is asked for only when the visitor wants notices, by that click.
$('notice').addEventListener('change', async () => {
  const wanted = $('notice').checked;
  const isAllowed = wanted && await Notification.requestPermission() === 'granted';
  $('notice').checked = isAllowed;
  $('no-notices').hidden = !wanted || isAllowed;
  notices.value = isAllowed ? 'yes' : '';
});

// One for the room, which the next takes the place of.
function notify({ name, text }) {
  if (!$('notice').checked) return;
  const body = clean(name ? `${name}: ${text}` : text).slice(0, 200);
  try {
    const notice = new Notification(room, { body, tag: path });
    notice.onclick = () => { window.focus(); notice.close(); };
  } catch { $('notices').hidden = true; }   // where only service workers may
}

function trace(sign, what) {
  passed.push({ at: Date.now(), sign, what });
  if (passed.length > MAX_TRACE) passed.shift();
  if ($('wire').open) traceTimer ||= setTimeout(drawTrace, 200);
}

function drawTrace() {
  traceTimer = 0;
  const lines = passed.map(({ at, sign, what }) => clean(`${new Date(at).toISOString().slice(11, 23)} ${sign} ${what}`));
  $('trace').textContent = lines.reverse().join('\n');
}

function weight(data) { return typeof data === 'string' ? `text, length ${data.length}` : `binary, length ${data.byteLength}`; }

$('wire').addEventListener('toggle', drawTrace);
$('more').addEventListener('toggle', showVisited);

// ---- Keyboard, focus, viewport ----

// On a touch screen the keyboard should come only when it is asked for.
function focusWriting() {
  if (matchMedia('(pointer: fine)').matches) $(nickname.value ? 'text' : 'name').focus();
}

// Where CSS cannot size a text area to its content.
function fit() {
  if (CSS.supports('field-sizing', 'content')) return;
  $('text').style.height = 'auto';
  $('text').style.height = `${$('text').scrollHeight + 2}px`;
}

$('compose').addEventListener('submit', (event) => { event.preventDefault(); send(); $('text').focus(); });
$('text').addEventListener('input', () => { hint(''); fit(); });
$('text').addEventListener('keydown', (event) => {
  if (event.isComposing || event.keyCode === 229) return;   // Enter belongs to the input method
  if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); send(); }
  if (event.key === 'PageUp' || event.key === 'PageDown') {
    event.preventDefault();
    log.scrollBy(0, (event.key === 'PageUp' ? -0.85 : 0.85) * log.clientHeight);
  }
});
$('name').addEventListener('input', () => { nickname.value = cleanName(); });
$('name').addEventListener('change', rename);
$('name').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.isComposing) { event.preventDefault(); $('text').focus(); }
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  beat();
  flush();
  askHere(true);
  if (retryAt) connect();
});

// An on-screen keyboard that covers the page without resizing it (iOS). Pinch zoom must not shrink the page.
window.visualViewport?.addEventListener('resize', () => {
  const height = visualViewport.height * visualViewport.scale;
  const covered = innerHeight - height > 80;
  document.documentElement.style.setProperty('--visible', covered ? `${height}px` : '100dvh');
  if (covered) scrollTo(0, 0);
});

// ---- Start ----

// A link may bring the token along; the address bar then forgets it. It is read as the server reads it: "+" is no space.
const brought = location.search.slice(1).split('&').find((pair) => pair.startsWith('token='));
if (brought) {
  token.value = decoded(brought.slice('token='.length));
  history.replaceState(null, '', location.origin + path);
}
$('host').textContent = location.host;
$('room').textContent = room;
// One argument of a shell, whatever the room is called.
$('terminal').textContent = `websocat '${address.replaceAll("'", '%27').replaceAll('!', '%21')}'`;
$('name').value = nickname.value;
$('notices').hidden = !('Notification' in window && isSecureContext);
$('notice').checked = !!notices.value && !$('notices').hidden && Notification.permission === 'granted';
showVisited();
title();
focusWriting();
connect();
