// The page in a real browser, against the real server: what a person sees and does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { page as html, policy } from './csp.js';
import { DEADLINE, Events, launch, Line, Person, post, publish, Server, typed, until, Websocat, within } from './support.js';

// What Chromium itself writes into the console while a server goes and comes, and where it lets nobody in.
const RESTARTING = [/^WebSocket connection to .* failed/, /net::ERR_(CONNECTION_(REFUSED|RESET)|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)/, /status of 503/];
const UNAUTHORIZED = [/^WebSocket connection to .* failed/, /status of 401/];

let browser;
const running = [];     // servers and clients of the current test

before(async () => { browser = await launch(); });
after(() => browser?.close());
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  for (const child of running.splice(0).reverse()) await child.stop();
});

async function serve(...options) {
  const server = await Server.start(...options);
  running.push(server);
  return server;
}

function terminal(url, ...options) {
  const client = new Websocat(url, ...options);
  running.push(client);
  return client;
}

test('pages and a terminal in one room exchange text, never markup', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const alice = await Person.at(browser, server.http('/lobby'), 'Alice');
  const bob = await Person.at(browser, server.http('/lobby'), 'Bob', { colorScheme: 'dark' });
  await alice.connected();
  await bob.connected();
  await alice.picture('empty');
  const carol = terminal(server.ws('/lobby'), '-t');

  carol.say('Carol: hello from a terminal');
  for (const person of [alice, bob]) {
    const seen = await person.sees('hello from a terminal');
    assert.equal(seen.name, 'Carol');
    assert.equal(seen.mine, false);
    assert.match(seen.time, /^\d\d:\d\d$/);
  }

  const markup = `<b>bold</b> & "quotes" 'single' <img src=x onerror="document.title='run'"> 🎉 👩‍💻 café`;
  await alice.say(markup);
  assert.deepEqual(await alice.sees(markup).then(({ name, mine, elements }) => [name, mine, elements]), ['You', true, 0]);
  assert.deepEqual(await bob.sees(markup).then(({ name, mine, elements }) => [name, mine, elements]), ['Alice', false, 0]);
  assert.equal(await carol.line(() => true, 'the message at the terminal').catch(String), 'Carol: hello from a terminal');
  assert.equal(await carol.line(() => true, 'the message at the terminal').catch(String), `Alice: ${markup}`);

  await bob.writing.fill('two lines:');
  await bob.writing.press('Shift+Enter');
  await bob.writing.pressSequentially('the second');
  await bob.writing.press('Enter');
  await alice.sees('two lines:\nthe second');

  carol.say('<script>document.title="run"</script> ← no name here');
  carol.say('דנה: שלום, \u202eabc\u202c ومرحبا 🦀');
  for (const person of [alice, bob]) {
    assert.equal((await person.sees('<script>document.title="run"</script> ← no name here')).name, '');
    assert.equal((await person.sees('שלום, \ufffdabc\ufffd ومرحبا 🦀')).name, 'דנה');
  }
  terminal(server.ws('/lobby'), '-b', '-u').sends(Buffer.alloc(1536));
  for (const person of [alice, bob]) await person.sees('Binary message, 1.5 KiB');
  await bob.say('One order for everybody, and nothing of it was run.');
  await alice.sees('One order for everybody, and nothing of it was run.');
  await alice.say('👍');
  await bob.sees('👍');
  assert.deepEqual(await alice.texts(), await bob.texts());

  await alice.writing.fill('And a longer one, to see how a paragraph sits beside the short ones: what one client of a room sends, every client of that room receives, in the same order.');
  await alice.writing.press('Enter');
  await bob.sees('And a longer one, to see how a paragraph sits beside the short ones: what one client of a room sends, every client of that room receives, in the same order.');
  for (const person of [alice, bob]) {
    await person.looks();
    await person.reads('#here', /^[34] here$/);
  }
  await alice.picture('light');
  await bob.picture('dark');
  assert.equal(await alice.page.title(), '/lobby · hubcast');
  for (const person of [alice, bob]) {
    person.hasCleanConsole();
    for (const url of person.requests) assert.ok(url.startsWith(server.http('/')) || url.startsWith('data:'), `a request to ${url}`);
  }

  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
  const dora = await Person.at(browser, server.http('/lobby'), 'Dora', phone);
  await dora.connected();
  carol.say('Carol: the build is green 🎉 and the release notes are up');
  await alice.say('Wonderful. I will tell the others.');
  carol.say('Carol: https://example.org/a/very/long/address/that-has-no-place-to-break/and-goes-on-and-on-and-on');
  await dora.sees('Wonderful. I will tell the others.');
  await dora.say('Reading this on the train.');
  await alice.sees('Reading this on the train.');
  await dora.writing.fill('A message that is being written, long enough for a second line');
  await dora.picture('phone');
  assert.ok(await dora.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the phone');
  dora.hasCleanConsole();
});

test('one room with a page, a terminal, an EventSource, curl and both ends of a pipe has one order', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--allow-publish', '--stdin', '/all', '--stdout', '/all');
  const room = server.http('/all');
  const alice = await Person.at(browser, room, 'Alice');
  await alice.connected();
  const eve = await Person.at(browser, server.http('/elsewhere'));
  await eve.page.evaluate((url) => new Promise((opened, fail) => {
    window.heard = [];
    const source = new EventSource(url);
    source.onmessage = (event) => window.heard.push(event.data);
    source.onopen = () => opened();
    source.onerror = () => fail(new Error('the EventSource failed'));
  }), room);
  const carol = terminal(server.ws('/all'), '-t');
  const dave = new Events(room);
  running.push(dave);
  const members = async () => (await (await fetch(server.http('/-/rooms'))).json()).rooms.find(({ name }) => name === '/all')?.clients;
  await until(async () => await members() === 4, 'four clients in the room');

  const rounds = 15;
  const total = 8 * rounds;
  const numbers = { page: 0, terminal: 0, curl: 0, pipe: 0 };
  const next = (who) => `${who} ${numbers[who] += 1} <b>&amp;</b> 🎉`;
  const input = server.child.process.stdin;
  for (let round = 0; round < rounds; round += 1) {
    const posted = publish(room, `Frank: ${next('curl')}`);
    const said = alice.say(next('page'));
    for (let n = 0; n < 3; n += 1) {
      carol.say(`Carol: ${next('terminal')}`);
      input.write(`Pipe: ${next('pipe')}\n`);
    }
    await said;
    assert.deepEqual(await posted, { room: '/all', clients: 4 });
  }

  const heard = {
    'standard output': () => server.child.printed,
    terminal: () => carol.lines,
    curl: () => dave.texts(),
    EventSource: () => eve.page.evaluate(() => window.heard),
    page: () => alice.texts(),
  };
  for (const [who, texts] of Object.entries(heard)) {
    await until(async () => (await texts()).length >= total, `all messages at the ${who}`);
  }
  await alice.page.locator('#list .sending').waitFor({ state: 'detached' });
  // The page shows names apart from texts; websocat sends a line with its end.
  const plain = (text) => text.replace(/^(Alice|Carol|Frank|Pipe): /, '').replace(/\n$/, '');
  const order = server.child.printed.map(plain);
  assert.equal(order.length, total);
  for (const [who, texts] of Object.entries(heard)) assert.deepEqual((await texts()).map(plain), order, `the order at the ${who}`);
  for (const [who, count] of Object.entries(numbers)) {
    const own = order.filter((text) => text.startsWith(`${who} `)).map((text) => Number(text.split(' ')[1]));
    assert.deepEqual(own, Array.from({ length: count }, (_, n) => n + 1), `all of the ${who}, in its order`);
  }
  await alice.picture('all-doors');
  for (const person of [alice, eve]) person.hasCleanConsole();
});

test('after a restart of the server the pages come back by themselves', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const alice = await Person.at(browser, server.http('/'), 'Alice');
  const bob = await Person.at(browser, server.http('/'), 'Bob', { viewport: { width: 390, height: 700 } });
  await alice.connected();
  await bob.connected();
  await alice.say('before the restart');
  await bob.sees('before the restart');

  await server.stop();
  for (const person of [alice, bob]) {
    await person.page.locator('[data-state="waiting"]').waitFor();
    await person.reads('#trouble', /Reconnecting/);
    await person.reads('#list', /The server is restarting/);
  }
  await alice.writing.fill('written while away');
  await alice.writing.press('Enter');
  await alice.reads('#hint', /Not connected/);
  await alice.reads('#trouble', /in \d+ s/);
  await alice.picture('reconnecting');
  await bob.picture('reconnecting-phone');

  await server.restart();
  await alice.connected();
  await bob.connected();
  await alice.writing.press('Enter');
  assert.equal((await bob.sees('written while away')).name, 'Alice');
  assert.equal((await alice.sees('written while away')).mine, true);
  await alice.reads('#list', /Connected again after/);
  assert.equal(await alice.page.locator('#trouble').isVisible(), false);
  for (const person of [alice, bob]) person.hasCleanConsole(...RESTARTING);
});

test('a token is asked for, a wrong one refused, the right one kept for the tab', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--token', 'open?>~sesame');
  const alice = await Person.at(browser, server.http('/vault'));
  const field = alice.page.getByLabel('Token', { exact: true });
  await field.waitFor();
  assert.equal(await alice.writing.isVisible(), false);
  await alice.picture('token');
  await field.fill('guess');
  await field.press('Enter');
  await alice.reads('#gate', /did not accept/);
  await field.fill('open?>~sesame');
  await field.press('Enter');
  await alice.connected();
  await alice.say('let in');
  await alice.sees('let in');
  alice.hasCleanConsole(...UNAUTHORIZED);

  alice.complaints.length = 0;
  await alice.page.reload();
  await alice.connected();
  alice.hasCleanConsole();

  const bob = await Person.at(browser, `${server.http('/vault')}?token=open%3F%3E~sesame`);
  await bob.connected();
  assert.equal(bob.page.url(), server.http('/vault'));
  bob.hasCleanConsole();
});

test('a token in a link is read as the server reads it', { timeout: 8 * DEADLINE }, async () => {
  const secret = 'ab+cd/ef==&1% é';
  const server = await serve('--token', secret);
  for (const query of [`token=ab+cd/ef==%261%25%20%c3%a9`, `a=b&token=${encodeURIComponent(secret)}&c=d`]) {
    assert.equal((await fetch(server.http(`/vault?${query}`), { headers: { Accept: 'application/json' } })).status, 200, query);
    const alice = await Person.at(browser, `${server.http('/vault')}?${query}`);
    await alice.connected();
    assert.equal(alice.page.url(), server.http('/vault'));
    alice.hasCleanConsole();
  }
});

test('a token works from a script as the guide prints it, and one that cannot work is explained', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--token', 's3cret');
  const alice = await Person.at(browser, server.http('/'));
  const guide = readFileSync(new URL('../../src/guide/doors.md', import.meta.url), 'utf8');
  const [, printed] = /```js\n([^`]*`hubcast\.token\.[^`]*`[^`]*)```/.exec(guide);
  const opens = (script) => alice.page.evaluate(`(() => {
    ${script.replace('ws://127.0.0.1:8080', server.ws(''))}
    return new Promise((resolve) => {
      socket.onopen = () => resolve(socket.protocol);
      socket.onclose = () => resolve('no connection');
    });
  })()`);
  assert.equal(await opens(printed), 'hubcast');
  const alone = printed.replace("'hubcast', ", '');
  assert.notEqual(alone, printed);
  assert.equal(await opens(alone), 'no connection');
  await server.child.line((line) => line.includes('offer `hubcast` as well'), 'the reason in the log');
});

test('a server that does not echo leaves one copy of what was said', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--no-echo');
  const alice = await Person.at(browser, server.http('/quiet'), 'Alice');
  const bob = await Person.at(browser, server.http('/quiet'), 'Bob');
  await alice.connected();
  await bob.connected();
  await alice.say('is anybody there?');
  await bob.sees('is anybody there?');
  await alice.sees('is anybody there?');
  assert.deepEqual(await alice.texts(), ['is anybody there?']);
  assert.equal(await alice.page.locator('.unsure').count(), 0);
});

test('the page knows how many are in its room, and asks for no list', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--no-admin', '--token', 'open sesame');
  const room = `${server.http('/caf%C3%A9')}?token=open%20sesame`;
  const alice = await Person.at(browser, room, 'Alice', { before: (page) => page.clock.install() });
  await alice.reads('#here', /^1 here$/);
  const bob = await Person.at(browser, room, 'Bob');
  await bob.reads('#here', /^2 here$/);
  await alice.page.clock.runFor(10e3);
  await alice.reads('#here', /^2 here$/);
  assert.ok(alice.requests.every((url) => !url.includes('/-/')), `${alice.requests}`);
  alice.hasCleanConsole();
});

test('where the number is not told, the page shows none and does not insist', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  let asked = 0;
  const alice = await Person.at(browser, server.http('/'), 'Alice', {
    before: async (page) => {
      await page.clock.install();
      await page.route(server.http('/'), (route) => {
        if (!route.request().headers().accept.includes('json')) return route.continue();
        asked += 1;
        return route.fulfill({ status: 404 });
      });
    },
  });
  await alice.connected();
  await until(() => asked === 1, 'the question');
  await alice.page.clock.runFor(60e3);
  await alice.say('still works');
  await alice.sees('still works');
  assert.equal(asked, 1);
  assert.equal(await alice.page.locator('#here').isVisible(), false);
  alice.hasCleanConsole(/status of 404/);
});

test('the policy names the page that is served, and Chromium keeps it', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const alice = await Person.at(browser, server.http('/'));
  await alice.connected();
  assert.equal(await alice.answer.text(), html);
  const headers = alice.answer.headers();
  assert.equal(headers['content-security-policy'], policy());
  assert.match(headers['content-type'], /^text\/html; charset=utf-8$/i);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  const refused = await alice.page.evaluate(() => {
    try {
      document.querySelector('#list').innerHTML = '<b>never</b>';
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, 'text reached innerHTML');
});

test('the keyboard is enough', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const alice = await Person.at(browser, server.http('/keys'));
  await alice.connected();
  const focused = () => alice.page.evaluate(() => document.activeElement.id);
  const press = (...keys) => keys.reduce((done, key) => done.then(() => alice.page.keyboard.press(key)), Promise.resolve());
  assert.equal(await focused(), 'name');
  await alice.page.keyboard.type('Alice: the first');
  await press('Enter');
  assert.equal(await focused(), 'text');
  await alice.page.keyboard.type('hello');
  await press('Enter');
  assert.equal((await alice.sees('hello')).mine, true);
  assert.equal(await alice.writing.inputValue(), '');
  const order = [await focused()];
  for (let i = 0; i < 2; i += 1) { await press('Shift+Tab'); order.push(await focused()); }
  assert.deepEqual(order, ['text', 'name', 'log']);

  await alice.page.reload();
  await alice.connected();
  assert.equal(await alice.name.inputValue(), 'Alice the first');
  assert.equal(await focused(), 'text');
});

test('web addresses in a message can be followed, and nothing else can', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--allow-publish');
  const room = server.http('/links');
  const alice = await Person.at(browser, room, 'Alice');
  await alice.connected();
  const many = 'http://a.test/ '.repeat(30).trim();
  for (const [sent, ...links] of [
    ['see https://example.org/a?b=1&c=%20#d, or (http://example.org:81/x).', 'https://example.org/a?b=1&c=%20#d', 'http://example.org:81/x'],
    ['https://en.wikipedia.org/wiki/Rust_(fungus)', 'https://en.wikipedia.org/wiki/Rust_(fungus)'],
    ['HTTPS://EXAMPLE.org!', 'HTTPS://EXAMPLE.org'],
    ['<a href="https://example.org/q">x</a>', 'https://example.org/q'],
    ['https://example.org/\u202egpj.exe', 'https://example.org/'],
    ['https://bücher.example/ß', 'https://bücher.example/ß'],
    ['javascript:alert(1) data:text/html,x ftp://a.test file:///etc/passwd //a.test www.a.test'],
    ['http:// https://. http://:x https://[ http://a:b c'],
    [`${many} end`, ...Array(20).fill('http://a.test/')],
  ]) {
    await post(room, sent);
    const seen = sent.replace('\u202e', '\ufffd');
    await alice.sees(seen);
    const found = await alice.page.locator('#list .text').last().locator('a').evaluateAll((all) => all.map((link) => {
      if (link.rel !== 'noopener noreferrer nofollow' || link.target !== '_blank' || link.attributes.length !== 3) throw new Error(link.outerHTML);
      return link.textContent;
    }));
    assert.deepEqual(found, links, sent);
  }
  await alice.say('mine: https://example.org/mine');
  assert.equal((await alice.sees('mine: https://example.org/mine')).elements, 1);
  const longest = await alice.measureStalls();
  for (const flood of ['http://', 'http://a ', 'http://))))', 'http://a.', 'https://(', 'h']) {
    await post(room, flood.repeat(100e3 / flood.length));
    await post(room, `after ${flood}`);
    await alice.sees(`after ${flood}`);
    const stall = await longest();
    assert.ok(stall < DEADLINE / 20, `the page stood still for ${stall} ms after ${flood}`);
  }
  alice.hasCleanConsole();
});

test('a notice comes where it is wanted, for what others say while the page is hidden', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--allow-publish');
  const room = server.http('/notices');
  const alice = await Person.at(browser, room, 'Alice', {
    before: (page) => page.addInitScript(() => {
      window.given = [];
      window.answer = 'denied';
      window.isHidden = false;
      Object.defineProperty(document, 'hidden', { get: () => window.isHidden });
      window.Notification = class {
        static permission = 'default';
        static requestPermission() { return Promise.resolve(window.answer); }
        constructor(title, { body, tag }) { window.given.push([title, body, tag]); }
      };
    }),
  });
  await alice.connected();
  const hide = (isHidden) => alice.page.evaluate((isHidden) => { window.isHidden = isHidden; }, isHidden);
  const given = () => alice.page.evaluate(() => window.given.splice(0));
  await hide(true);
  await post(room, 'Bob: not wanted');
  await alice.sees('not wanted');
  await hide(false);
  const more = alice.page.getByRole('button', { name: 'More' });
  const wish = alice.page.getByRole('checkbox', { name: /Tell me of messages/ });
  await more.focus();
  await alice.page.keyboard.press('Enter');
  await wish.click();
  await alice.reads('#no-notices', /does not allow it/);
  assert.equal(await wish.isChecked(), false);
  await alice.page.evaluate(() => { window.answer = 'granted'; });
  await wish.click();
  await until(() => wish.isChecked(), 'the notices to be on');
  await alice.picture('more');
  await alice.page.keyboard.press('Escape');
  await post(room, 'Bob: seen anyway');
  await alice.sees('seen anyway');
  assert.deepEqual(await given(), []);
  await hide(true);
  await post(room, 'Bob: are \u202e you there?');
  await alice.sees('are \ufffd you there?');
  assert.deepEqual(await given(), [['/notices', 'Bob: are \ufffd you there?', '/notices']]);
  alice.hasCleanConsole();
});

test('rooms are a few steps from one another, and what passes can be looked at', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
  const alice = await Person.at(browser, server.http('/one'), 'Alice', phone);
  await alice.connected();
  const more = alice.page.getByRole('button', { name: 'More' });
  for (const [typed, url] of [['/two words', '/two%20words'], ['caf\u00e9/?#&', '/caf%C3%A9/%3F%23%26'], ['//x.test/y', '//x.test/y']]) {
    await more.tap();
    await alice.page.getByRole('textbox', { name: 'Another room' }).fill(typed);
    await alice.page.keyboard.press('Enter');
    await alice.page.waitForURL(server.http(url));
    await alice.connected();
  }
  await more.tap();
  const rooms = alice.page.locator('#visited a');
  assert.deepEqual(await rooms.allTextContents(), ['//x.test/y', '/café/?#&', '/two words', '/one']);
  await rooms.nth(1).tap();
  await alice.page.waitForURL(server.http('/caf%C3%A9/%3F%23%26'));
  await alice.connected();

  await alice.say('hello');
  await alice.sees('hello');
  await more.tap();
  await alice.page.locator('summary').tap();
  await alice.reads('#trace', /^\d\d:\d\d:\d\d\.\d\d\d ↔ echo after \d+ ms\n\S+ ← text, length 12\n\S+ → text, length 12\n\S+ ✓ open after \d+ ms\n\S+ … connecting$/);
  await alice.picture('more-phone');
  await server.stop();
  await alice.reads('#trace', /× closed with 1001 server shutdown/);
  assert.ok(await alice.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the phone');
  alice.hasCleanConsole(...RESTARTING);
});

// ---- Where the room remembers ----

async function cuttable(...options) {
  const server = await serve('--allow-publish', ...options);
  const line = await Line.to(server);
  running.push(line);
  return [server, line];
}

// A page and an EventSource are cut off while 200 messages are sent. What each of them shows in the end.
async function cutOff(...options) {
  const [server, line] = await cuttable(...options);
  const alice = await Person.at(browser, line.http('/cut'), 'Alice');
  await alice.connected();
  await alice.page.evaluate((url) => new Promise((opened) => {
    window.heard = [];
    const source = new EventSource(url);
    source.onmessage = (event) => window.heard.push(event.data);
    source.addEventListener('gap', () => window.heard.push('gap'));
    source.onopen = () => opened();
  }), line.http('/cut'));
  const both = async (text) => {
    await alice.sees(text);
    await within(alice.page.waitForFunction((text) => window.heard.at(-1) === text, text), `${text} at the EventSource`);
  };
  for (let n = 1; n <= 200; n += 1) {
    await post(server.http('/cut'), `message ${n}`);
    if (n !== 19) continue;
    await both('message 19');
    line.cut();
  }
  await alice.page.locator('[data-state="waiting"]').waitFor();
  line.mend();
  await both('message 200');
  await alice.connected();
  await post(server.http('/cut'), 'the end');
  await both('the end');
  alice.hasCleanConsole(...RESTARTING);
  return [alice, await alice.page.evaluate(() => window.heard)];
}

test('a page and an EventSource that are cut off have every message, once and in order', { timeout: 8 * DEADLINE }, async () => {
  const [alice, heard] = await cutOff('--history', '1000');
  const expected = [...Array.from({ length: 200 }, (_, n) => `message ${n + 1}`), 'the end'];
  assert.deepEqual(await alice.texts(), expected);
  assert.deepEqual(heard, expected);
  assert.equal(await alice.page.locator('.gap').count(), 0);
  const notes = await alice.page.locator('.note:visible').allTextContents();
  assert.match(notes.join('|'), /^\d\d:\d\d · The connection was lost\.\|\d\d:\d\d · Connected again after \d+ s\.$/);
  await alice.picture('resumed');
});

test('where the room has forgotten, a page and an EventSource show that something is missing', { timeout: 8 * DEADLINE }, async () => {
  const [alice, heard] = await cutOff('--history', '100');
  const kept = [...Array.from({ length: 100 }, (_, n) => `message ${n + 101}`), 'the end'];
  const texts = await alice.page.locator('#list .text, #list .gap').allTextContents();
  const missing = texts.indexOf('Messages are missing here');
  assert.deepEqual(texts.slice(missing + 1), kept);
  assert.equal(missing, 19);
  assert.deepEqual(texts.slice(0, missing), Array.from({ length: missing }, (_, n) => `message ${n + 1}`));
  assert.equal(await alice.page.locator('.gap').count(), 1);
  assert.deepEqual(heard.slice(heard.indexOf('gap') + 1), kept);
  assert.equal(heard.filter((text) => text === 'gap').length, 1);
  await alice.page.locator('.gap').scrollIntoViewIfNeeded();
  await alice.picture('gap');
});

test("the script for one's own pages comes back, misses nothing, and tells gaps", { timeout: 8 * DEADLINE }, async () => {
  let port = 0;
  const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end(
    `<!doctype html><script src="http://127.0.0.1:${port}/-/client.js"></script>`,
  )).listen(0, '127.0.0.1');
  await once(site, 'listening');
  running.push({ stop: () => { site.closeAllConnections(); site.close(); } });
  const origin = `http://127.0.0.1:${site.address().port}`;
  const server = await serve('--allow-publish', '--history', '50', '--token', 's€cret', '--allow-origin', origin);
  port = server.port;
  const line = await Line.to(server);
  running.push(line);
  const room = server.http('/lobby');
  const tell = async (body, type = 'text/plain') => {
    const answer = await fetch(`${room}?token=${encodeURIComponent('s€cret')}`, { method: 'POST', body, headers: { 'content-type': type } });
    assert.equal(answer.status, 202);
  };
  await tell('before');
  await tell('!at nowhere\nas it is');
  const { page } = await Person.at(browser, origin);
  await page.evaluate(([url, token]) => {
    window.heard = [];
    window.states = [];
    window.room = new Hubcast(url, { token, last: 10 });
    window.room.onmessage = (data) => window.heard.push(typeof data === 'string' ? data : [...new Uint8Array(data)].join());
    window.room.ongap = () => window.heard.push('gap');
    window.room.onstate = (state, why) => window.states.push(why ? `${state}: ${why}` : state);
  }, [line.http('/lobby'), 's€cret']);
  const has = (text) => within(page.waitForFunction((text) => window.heard.includes(text), text), text);
  const heard = () => page.evaluate(() => window.heard.splice(0));
  const lost = () => page.waitForFunction(() => window.states.at(-1).startsWith('waiting'));
  await has('!at nowhere\nas it is');
  assert.equal(await page.evaluate(() => window.room.send('of my own')), true);
  await tell(Buffer.from([10, 1, 10]), 'application/octet-stream');
  await has('10,1,10');
  assert.deepEqual(await heard(), ['before', '!at nowhere\nas it is', 'of my own', '10,1,10']);

  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => `message ${from + n}`);
  for (const [first, last, kept] of [[1, 40, numbers(1, 40)], [41, 140, ['gap', ...numbers(91, 140)]]]) {
    line.cut();
    await lost();
    assert.equal(await page.evaluate(() => window.room.send('unheard')), false);
    for (const text of numbers(first, last)) await tell(text);
    line.mend();
    await has(`message ${last}`);
    assert.deepEqual(await heard(), kept);
  }
  assert.equal(await page.evaluate(() => window.states[0]), 'connecting');
  await page.evaluate(() => window.room.close());
  assert.equal(await page.evaluate(() => window.states.at(-1)), 'closed: closed by the page');

  // A token that is not taken is said, and not tried again.
  const refused = await page.evaluate((url) => new Promise((done) => {
    new Hubcast(url, { token: 'guess' }).onstate = (state, why) => { if (state === 'closed') done(why); };
  }), line.http('/lobby'));
  assert.match(refused, /token for this is missing or wrong/);
});

test('a page of an allowed other site reads where it is', { timeout: 6 * DEADLINE }, async () => {
  const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html>')).listen(0, '127.0.0.1');
  await once(site, 'listening');
  running.push({ stop: () => { site.closeAllConnections(); site.close(); } });
  const origin = `http://127.0.0.1:${site.address().port}`;
  const server = await serve('--allow-publish', '--history', '10', '--allow-origin', origin);
  await post(server.http('/'), 'something');
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(origin);
  const read = (url, headers) => page.evaluate(async ([url, headers]) => {
    const answer = await fetch(url, { headers });
    return ['hubcast-client', 'hubcast-position', 'hubcast-resume'].map((name) => answer.headers.get(name));
  }, [url, headers]);
  const events = { accept: 'text/event-stream' };
  const [client, position, resume] = await read(server.http('/'), events);
  assert.match(client, /^\d+$/);
  assert.match(position, /^\w{8}-1$/);
  assert.equal(resume, null);
  assert.deepEqual((await read(`${server.http('/')}?since=${position}`, events)).slice(1), [position, 'complete']);
  const older = 'k3f9x2qa-1';
  assert.deepEqual((await read(server.http('/'), { ...events, 'last-event-id': older })).slice(2), ['incomplete']);
});

test('a page opens with what was said before, and after a reload shows what is new', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--allow-publish', '--history', '300', '--token', 't');
  const room = server.http('/past');
  const tell = async (text, type = 'text/plain') => {
    const answer = await fetch(room, { method: 'POST', body: text, headers: { authorization: 'Bearer t', 'content-type': type } });
    assert.equal(answer.status, 202);
  };
  for (const text of ['first', 'Bob: second\nand more', '!at k3f9x2qa-1 new\nthird']) await tell(text);
  await tell(Buffer.from([1, 2, 10, 3]), 'application/octet-stream');
  const alice = await Person.at(browser, `${room}?token=t`, 'Alice');
  await alice.connected();
  assert.equal((await alice.sees('second\nand more')).name, 'Bob');
  const past = ['first', 'second\nand more', '!at k3f9x2qa-1 new\nthird', 'Binary message, 4 bytes'];
  assert.deepEqual(await alice.texts(), past);
  await alice.say('of my own');
  assert.equal((await alice.sees('of my own')).mine, true);
  await tell(Buffer.from([10, 10, 10]), 'application/octet-stream');
  await alice.sees('Binary message, 3 bytes');
  await tell('a line\nof two');
  await alice.sees('a line\nof two');
  const all = [...past, 'of my own', 'Binary message, 3 bytes', 'a line\nof two'];
  assert.deepEqual(await alice.texts(), all);

  await alice.page.reload();
  await alice.connected();
  await alice.sees('a line\nof two');
  assert.deepEqual(await alice.texts(), all);
  assert.equal((await alice.sees('of my own')).mine, true);
  assert.equal(await alice.page.locator('.note:visible').count(), 0);

  await alice.page.goto('about:blank');
  await tell('while away');
  await alice.page.goto(room);
  await alice.sees('while away');
  const shown = await alice.page.locator('#list .text, #list .note').allTextContents();
  assert.deepEqual(shown, [...all, 'New since you were here', 'while away']);
  await alice.picture('new-since');

  // More than the page begins with: it says that something is between.
  await alice.page.goto('about:blank');
  for (let n = 1; n <= 250; n += 1) await tell(`flood ${n}`);
  await alice.page.goto(room);
  await alice.sees('flood 250');
  const rest = await alice.page.locator('#list .text, #list .note').allTextContents();
  assert.deepEqual(rest, ['Messages are missing here', ...Array.from({ length: 200 }, (_, n) => `flood ${n + 51}`)]);
  alice.hasCleanConsole();
});

test('where the answer about the past is cut short, the connection itself brings it', { timeout: 6 * DEADLINE }, async () => {
  const [server, line] = await cuttable('--history', '300');
  for (let n = 1; n <= 3; n += 1) await post(server.http('/past'), `message ${n}`);
  const alice = await Person.at(browser, line.http('/past'), 'Alice', {
    before: (page) => page.route(`${line.http('/past')}?*`, (route) => route.fulfill({ contentType: 'application/json', body: '{"room":"/past","mess' })),
  });
  await alice.connected();
  await alice.sees('message 3');
  line.cut();
  await alice.page.locator('[data-state="waiting"]').waitFor();
  for (let n = 4; n <= 6; n += 1) await post(server.http('/past'), `message ${n}`);
  line.mend();
  await alice.sees('message 6');
  assert.deepEqual(await alice.texts(), [1, 2, 3, 4, 5, 6].map((n) => `message ${n}`));
});

test('what is remembered has the time at which it was said', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--allow-publish', '--history', '10');
  await post(server.http('/past'), 'long ago');
  const alice = await Person.at(browser, server.http('/past'), 'Alice', { before: (page) => page.clock.install({ time: Date.now() + 3600e3 }) });
  await alice.connected();
  const said = await alice.page.locator('#list time').getAttribute('title');
  const now = await alice.page.evaluate(() => moment.format(Date.now()));
  assert.notEqual(said, now);
});

test('an own message whose echo was lost with the connection finds its place', { timeout: 8 * DEADLINE }, async () => {
  for (const options of [[], ['--no-echo']]) {
    const [server, line] = await cuttable('--history', '100', ...options);
    const alice = await Person.at(browser, line.http('/own'), 'Alice');
    await alice.connected();
    // The server hears what is said, but its answer is lost.
    line.mute();
    await alice.say('did this arrive?');
    await until(async () => (await recalled(server.http('/own'))).includes('Alice: did this arrive?'), 'the message at the server');
    await publish(server.http('/own'), 'Bob: it did');
    line.cut();
    await alice.page.locator('[data-state="waiting"]').waitFor();
    line.mend();
    await alice.sees('it did');
    assert.deepEqual(await alice.texts(), ['did this arrive?', 'it did']);
    assert.equal((await alice.sees('did this arrive?')).mine, true);
    assert.equal(await alice.page.locator('.unsure').count(), 0);
    await alice.say('and this?');
    await alice.sees('and this?');
  }
});

async function recalled(url) {
  const answer = await fetch(`${url}?last=100`, { headers: { accept: 'application/json' } });
  return (await answer.json()).messages.map(({ text }) => text);
}

test('where nothing is remembered, the page asks for nothing more than before', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve();
  const sockets = [];
  const alice = await Person.at(browser, server.http('/plain'), 'Alice', { before: (page) => page.on('websocket', (ws) => sockets.push(ws.url())) });
  await alice.reads('#here', /^1 here$/);
  assert.deepEqual(sockets, [server.ws('/plain')]);
  assert.deepEqual(alice.requests.filter((url) => !url.startsWith('data:')), [server.http('/plain'), server.http('/plain')]);
  await alice.say('k3f9x2qa-1\n!gap a b');
  await alice.sees('k3f9x2qa-1\n!gap a b');
});

test('a page of a room that remembers copes with a server that knows no positions', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--history', '10');
  const line = await Line.to(server, (piece) => Buffer.from(piece.toString('latin1').replace('hubcast.positions', 'hubcast.something'), 'latin1'));
  running.push(line);
  const alice = await Person.at(browser, line.http('/old'), 'Alice', {
    before: (page) => page.route(`${line.http('/old')}?*`, (route) => route.fulfill({ json: { room: '/old', clients: 1 } })),
  });
  await alice.connected();
  await alice.say('k3f9x2qa-1\n!gap a b');
  await alice.sees('k3f9x2qa-1\n!gap a b');
  line.cut();
  await alice.page.locator('[data-state="waiting"]').waitFor();
  line.mend();
  await alice.reads('#list', /What was said meanwhile is not shown/);
  await alice.connected();
  await alice.say('as it is');
  await alice.sees('as it is');
  assert.deepEqual(await alice.texts(), ['k3f9x2qa-1\n!gap a b', 'as it is']);
});

// ---- Where the server says who is here ----

test('the page lists who is here, and is listed by its name', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--presence', '--token', 't', '--presence-grace', '0s');
  const room = `${server.http('/team')}?token=t`;
  const alice = await Person.at(browser, room, 'Alice \u202e');
  await alice.connected();
  // It had connected without a name, which was typed afterwards.
  await alice.name.press('Enter');
  const bob = terminal(`${server.ws('/team')}?token=t&name=Bob`, '-t');
  const list = alice.page.locator('#people li');
  const lists = (...names) => until(async () => (await list.allTextContents()).join('|') === names.join('|'), names.join(), () => list.allTextContents());
  const count = async () => (await (await fetch(room, { headers: { accept: 'application/json' } })).json()).clients;
  await until(async () => await count() === 2, 'two clients', count);
  await alice.looks();
  const button = alice.page.getByRole('button', { name: '2 here' });
  await button.waitFor();
  await alice.picture('here-button');
  await button.focus();
  await alice.page.keyboard.press('Enter');
  await lists('Alice', 'Bob');
  const carol = [terminal(`${server.ws('/team')}?token=t&name=%3Cb%3ECarol`, '-t'), terminal(`${server.ws('/team')}?token=t&name=%3Cb%3ECarol`, '-t')];
  terminal(`${server.ws('/team')}?token=t`, '-t');
  await lists('<b>Carol (2)', 'Alice', 'Bob', '1 without a name');
  await alice.reads('#who', /^5 here$/);
  await alice.picture('people');
  for (const each of [bob, ...carol]) each.process.kill();
  await lists('Alice', '1 without a name');
  await alice.page.keyboard.press('Escape');
  assert.equal(await list.first().isVisible(), false);
  await alice.reads('#who', /^2 here$/);

  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
  const dora = await Person.at(browser, room, '', phone);
  await dora.connected();
  await dora.name.fill('D'.repeat(38) + '👩');
  await dora.name.press('Enter');
  await dora.connected();
  await dora.page.getByRole('button', { name: '3 here' }).tap();
  await dora.page.locator('#people li').filter({ hasText: `${'D'.repeat(38)}👩` }).waitFor();
  assert.ok(await dora.page.evaluate(() => {
    const { left, right, bottom } = document.querySelector('#people').getBoundingClientRect();
    return left >= 0 && right <= innerWidth && bottom <= innerHeight;
  }), 'the list is on the phone');
  await dora.picture('people-phone');
  await dora.log.tap();
  assert.equal(await dora.page.locator('#people').isVisible(), false);
  for (const person of [alice, dora]) person.hasCleanConsole();
});

test('a name that is changed is shown, and nothing that is remembered is lost by it', { timeout: 8 * DEADLINE }, async () => {
  const server = await serve('--presence', '--history', '100', '--allow-publish', '--presence-grace', '0s');
  const room = server.http('/team');
  const alice = await Person.at(browser, room, 'Alice');
  const names = async () => (await (await fetch(`${room}?presence`, { headers: { accept: 'application/json' } })).json()).here.map(({ name }) => name);
  await alice.connected();
  const said = [];
  for (const name of ['Ann', 'Ben', '', '\ud800é'.repeat(20)]) {
    await alice.name.fill(name);
    await alice.name.press('Enter');
    for (let n = 0; n < 20; n += 1) {
      said.push(`${name.length} ${n}`);
      await post(room, said.at(-1));
    }
    await until(async () => (await names()).length === 1 && (await names())[0] !== 'Alice', `${name} alone`, names);
    await until(async () => ((await names())[0] ?? '').slice(0, 3) === name.slice(0, 3).replace('\ud800', '\ufffd').replace('\ud800', '\ufffd'), name, names);
    await alice.sees(said.at(-1));
  }
  assert.deepEqual(await alice.texts(), said);
  alice.hasCleanConsole();
});

// From here on the server's side of the connection is played by the test: the page is the real one, its server misbehaves.

async function played(behave, options = {}) {
  const server = await serve();
  const person = await Person.at(browser, server.http('/played'), 'Alice', {
    ...options,
    before: (page) => page.routeWebSocket(server.ws('/played'), behave),
  });
  return person;
}

test('a client that is disconnected reads why', { timeout: 6 * DEADLINE }, async () => {
  const endings = [[1008, 'slow consumer since=k3f9x2qa-10482'], [1012, 'restarting; come back in 1.5 s since=k3f9x2qa-1'], [1011, ''], [4000, 'the game is over']];
  const alice = await played((ws) => {
    const [code, reason] = endings.shift() ?? [];
    // The connection opens when this function has returned.
    if (code) setImmediate(() => ws.close({ code, reason }));
  });
  await alice.reads('#list', /The server disconnected you: slow consumer\./);
  await alice.reads('#list', /The server is restarting\./);
  await alice.reads('#list', /The server had an error/);
  await alice.reads('#trouble', /closed with code 4000: the game is over\./);
  await alice.reads('#state', /Closed/);
  await alice.page.getByRole('button', { name: 'Join again' }).click();
  await alice.connected();
});

test('a long log stays short in the document and follows only a reader at its end', { timeout: 8 * DEADLINE }, async () => {
  // All of them may have to wait for a browser that has no processor for a while.
  const server = await serve('--queue-messages', '10000');
  const alice = await Person.at(browser, server.http('/dice'), 'Alice');
  await alice.connected();
  const dice = terminal(server.ws('/dice'), '-t');
  const started = performance.now();
  for (let n = 1; n <= 10000; n += 1) dice.say(`Dice: roll ${n}`);
  await alice.sees('roll 10000');
  console.log(`# 10,000 messages shown in ${Math.round(performance.now() - started)} ms`);
  assert.equal(await alice.page.locator('#list > li').count(), 1000);
  await alice.reads('#earlier', /No longer shown: 9,000 earlier messages/);
  const fromEnd = () => alice.page.evaluate(() => {
    const log = document.querySelector('#log');
    return log.scrollHeight - log.scrollTop - log.clientHeight;
  });
  await within(alice.page.waitForFunction(() => {
    const log = document.querySelector('#log');
    return log.scrollHeight - log.scrollTop - log.clientHeight < 2;
  }), 'the log to be at its end');

  await alice.writing.press('PageUp');
  await alice.writing.press('PageUp');
  await alice.page.waitForFunction(() => {
    const log = document.querySelector('#log');
    return log.scrollHeight - log.scrollTop - log.clientHeight > 200;
  });
  dice.say('Eve: psst');
  dice.say('Eve: over here');
  const latest = alice.page.getByRole('button', { name: '2 new messages' });
  await latest.waitFor();
  assert.ok(await fromEnd() > 200, 'the log moved under its reader');
  await alice.picture('new-messages');
  await latest.click();
  await alice.page.waitForFunction(() => document.querySelector('#latest').hidden);
  assert.ok(await fromEnd() < 2);

  // Up again before the browser has told the page of the way down: one event stands for both.
  await alice.writing.press('PageUp');
  await alice.writing.press('PageUp');
  await alice.writing.press('PageUp');
  dice.say('Eve: wait');
  await alice.page.getByRole('button', { name: '1 new message' }).waitFor();
  await alice.page.evaluate(() => {
    document.querySelector('#latest').click();
    const log = document.querySelector('#log');
    log.scrollBy(0, -log.clientHeight);
  });
  dice.say('Eve: one more');
  await alice.page.getByRole('button', { name: '1 new message' }).waitFor();

  // Up, and a message is shown before the browser has told the page of it.
  await alice.page.evaluate(() => {
    document.querySelector('#latest').click();
    const log = document.querySelector('#log');
    log.scrollBy(0, -log.clientHeight);
    receive('Eve: at the same time');
    flush();
  });
  await alice.page.getByRole('button', { name: '1 new message' }).waitFor();
  assert.ok(await fromEnd() > 200, 'the log moved under its reader');
  alice.hasCleanConsole();
});

test('what may not have arrived says so and can be sent again', { timeout: 6 * DEADLINE }, async () => {
  let connections = 0;
  const alice = await played((ws) => {
    connections += 1;
    const echo = connections > 1;
    ws.onMessage((text) => { if (echo) ws.send(text); else ws.close({ code: 1011, reason: 'going down' }); });
  });
  await alice.connected();
  await alice.say('did this arrive?');
  await alice.reads('.unsure', /May not have arrived/);
  await alice.connected();
  await alice.picture('unsure');
  await alice.page.getByRole('button', { name: 'Send again' }).click();
  await alice.sees('did this arrive?');
  assert.deepEqual(await alice.texts(), ['did this arrive?']);
  assert.equal(await alice.page.locator('.unsure').count(), 0);
});

test('an echo that comes late is no second message', { timeout: 6 * DEADLINE }, async () => {
  let server;
  let held;
  const alice = await played((ws) => {
    server = ws;
    ws.onMessage((text) => { if (text.endsWith(' late')) held = text; else ws.send(text); });
  });
  await alice.connected();
  await alice.say('in time');
  await alice.sees('in time');
  await alice.say('too late');
  await alice.reads('.unsure', /May not have arrived/);
  server.send('Bob: meanwhile');
  await alice.sees('meanwhile');
  server.send(held);
  await alice.page.locator('.unsure').waitFor({ state: 'detached' });
  assert.deepEqual(await alice.texts(), ['in time', 'meanwhile', 'too late']);
  assert.equal((await alice.sees('too late')).mine, true);
  assert.equal(await alice.page.getByRole('button', { name: 'Send again' }).count(), 0);
  // The same once more is another one, and somebody else's.
  server.send(held);
  await alice.reads('#list li:last-child .name', /^Alice$/);
  alice.hasCleanConsole();
});

test('a page that wakes from sleep does not trust the connection it had', { timeout: 6 * DEADLINE }, async () => {
  const connections = [];
  const options = { before: async (page) => {
    await page.clock.install();
    await page.routeWebSocket(/played/, (ws) => { connections.push(ws); });
  } };
  const server = await serve();
  const alice = await Person.at(browser, server.http('/played'), 'Alice', options);
  await alice.connected();
  // Asleep for less than the server's patience, or hidden, with a clock that is looked at once a minute: nothing happens.
  await alice.page.clock.fastForward(60e3);
  await alice.page.clock.runFor(60e3);
  assert.equal(connections.length, 1);
  await alice.page.clock.fastForward(600e3);
  await alice.reads('#list', /The connection was lost/);
  await alice.page.clock.runFor(2e3);
  await alice.reads('#list', /Connected again after 10 min/);
  await alice.connected();
  assert.equal(connections.length, 2);

  // Woken where the server cannot be reached any more, which the connection itself does not know.
  await alice.page.route(server.http('/played'), (route) => route.abort());
  await alice.looks();
  await alice.page.clock.runFor(2e3);
  await until(() => connections.length === 3, 'a third connection');
  await alice.connected();
});

// ---- What somebody may try with a message, a link or a room's name ----

test('no message makes the page stand still', { timeout: 6 * DEADLINE }, async () => {
  // Nothing is echoed, so what Alice says waits for an echo while the messages come, and is compared with each of them.
  const server = await serve('--allow-publish', '--no-echo');
  const room = server.http('/flood');
  const alice = await Person.at(browser, room, 'Alice');
  await alice.connected();
  const longest = await alice.measureStalls();
  const size = 2 ** 20 - 1;
  const floods = ['\n', '\r', '\r\n', ': ', ' ', '\u202e', 'e\u0301\u0302', 'long'];
  for (const [n, flood] of floods.entries()) {
    await alice.say(`before ${n}`);
    await post(room, flood.repeat(size / Buffer.byteLength(flood)) + 'x');
    await post(room, `Eve: after ${n}`);
    await alice.sees(`after ${n}`);
    const stall = await longest();
    assert.ok(stall < DEADLINE / 20, `the page stood still for ${stall} ms after ${JSON.stringify(flood)}`);
  }
  for (const text of await alice.texts()) assert.ok(text.length < 21e3, `${text.length} characters are shown`);
  assert.equal((await alice.texts()).filter((text) => /… \[[\d,]+ more characters\]$/.test(text)).length, floods.length);
});

test('nothing unseen in a message, a name, a room or a reason changes what is read', { timeout: 6 * DEADLINE }, async () => {
  const server = await serve('--allow-publish');
  const room = server.http('/%E2%80%AEdoor');
  const alice = await Person.at(browser, room, 'Alice');
  await alice.connected();
  await alice.reads('h1', /\/\ufffddoor/);
  assert.equal(await alice.page.title(), '/\ufffddoor · hubcast');
  for (const [sent, seen] of [
    ['a\u202eb\u202c', 'a\ufffdb\ufffd'],
    ['a\u2066b\u2069', 'a\ufffdb\ufffd'],
    ['a\u2028b\u2029c\u0085d\u000be', 'a\ufffdb\ufffdc\ufffdd\ufffde'],
    ['a\u200bb\u2060c\ufeffd\u3164e', 'a\ufffdb\ufffdc\ufffdd\ufffde'],
    ['a\u{e0068}\u{e0069}\u{e007f}b', 'a\ufffdb'],
    ['a\u0007b\u001b[2Jc\u007fd\u009be', 'a\ufffdb\ufffd[2Jc\ufffdd\ufffde'],
    ['one\r\ntwo\rthree\tfour', 'one\ntwo\nthree\tfour'],
    // What belongs to the writing stays: accents, vowel signs, joiners of Persian and of emoji, variation selectors.
    ...['e\u0301 נָ कि', 'می\u200cخواهم', '👩\u200d💻 ❤\ufe0f 葛\u{e0100}', 'ל\u200fא', 'Ver\u00adbindung'].map((text) => [text, text]),
  ]) {
    await post(room, `\u202e${seen.length}: ${sent}`);
    assert.equal((await alice.sees(seen)).name, `\ufffd${seen.length}`);
  }
  await alice.say('I say \u202e this');
  assert.equal((await alice.sees('I say \ufffd this')).mine, true);
  await alice.picture('unseen');
  alice.hasCleanConsole();
});

test('the line to copy is one argument to a shell, whatever the room is called', { timeout: 12 * DEADLINE }, async () => {
  const server = await serve();
  const folder = mkdtempSync(join(tmpdir(), 'hubcast-shell-'));
  running.push({ stop: () => rmSync(folder, { recursive: true }) });
  const alice = await Person.at(browser, server.http('/'), 'Alice');
  for (const room of [
    '/x;touch$IFS./pwned;', '/$(touch$IFS./pwned)', '/`touch$IFS./pwned`', "/';touch$IFS./pwned;'", '/";touch$IFS./pwned;"', '/a&touch$IFS./pwned&',
    '/a|touch$IFS./pwned', '/!!', '/it!s', "/it's", '/~root', '/{a,b}', '/*', '/[a-z]?', '/a b', '/a\\b', '/-n', '/(a)', '/<a>pwned', '/%', '/#a', '/ü', '/',
  ]) {
    const path = room.replace(/[%#? \\]/g, encodeURIComponent);
    await alice.page.goto(server.http(path));
    await alice.connected();
    const line = await alice.page.locator('#terminal').textContent();
    for (const [shell, ...options] of [['sh'], ['bash', '--norc', '-i']]) {
      const said = await typed(shell, options, `websocat() { echo "$#:$1"; }\n${line}\n`, folder);
      const [, count, url] = /^(\d+):(.*)\n$/.exec(said) ?? assert.fail(`${shell} of ${line}: ${said}`);
      assert.equal(count, '1', line);
      assert.equal(decodeURIComponent(new URL(url).pathname), room, line);
    }
    assert.deepEqual(readdirSync(folder), [], line);
  }
  // The real one gets into the room that the page is in.
  await alice.page.goto(server.http("/it's;!here"));
  await alice.connected();
  const line = await alice.page.locator('#terminal').textContent();
  await typed('sh', ['-c', `echo 'from a terminal' | ${line} -1 >/dev/null`], '', folder);
  await alice.sees('from a terminal');
});

test('many messages of many lines do not make the page stand still', { timeout: 6 * DEADLINE }, async () => {
  // What waits for a browser that has no processor for a while is 8 MB.
  const server = await serve('--allow-publish', '--queue-bytes', '16MiB');
  const room = server.http('/lines');
  const alice = await Person.at(browser, room, 'Alice');
  await alice.connected();
  const longest = await alice.measureStalls();
  const lines = 'a\n'.repeat(10e3);
  for (let n = 0; n < 400; n += 1) await post(room, `${lines}${n}`);
  await post(room, 'the end');
  await alice.sees('the end');
  const stall = await longest();
  console.log(`# the page stood still for ${Math.round(stall)} ms`);
  assert.ok(stall < DEADLINE / 20, `the page stood still for ${stall} ms`);
  const [first] = await alice.texts();
  assert.equal(first, `${'a\n'.repeat(200).trimEnd()}… [19,602 more characters]`);
});
