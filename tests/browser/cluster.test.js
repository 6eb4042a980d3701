// Two nodes and a browser at each: one node is killed, and nobody misses anything; each page lists who is at the other.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { DEADLINE, launch, Line, Person, post, Server, until, within } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'hubcast-cluster-'));
let browser;
let redis;
let engine;
const running = [];

before(async () => {
  browser = await launch();
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address();
  await new Promise((closed) => { free.close(closed); });
  redis = spawn('redis-server', ['--bind', '127.0.0.1', '--port', port, '--save', '', '--dir', folder], { stdio: 'ignore' });
  engine = `redis://127.0.0.1:${port}`;
});
after(async () => {
  await browser?.close();
  for (const child of running.reverse()) await child.stop();
  redis.kill();
  await once(redis, 'close');
  rmSync(folder, { recursive: true });
});

async function node(...options) {
  const server = await Server.start('--engine', engine, '--allow-publish', '--history', '100000', '--history-bytes', '64MiB', ...options);
  running.push(server);
  await ready(server);
  return server;
}

async function ready(server) {
  await until(async () => (await fetch(server.http('/-/readyz'))).status === 200, 'the node to be ready');
}

// What clients are told to do, in the browser: an EventSource comes back by itself, with its last id, and a
// WebSocket with the position that it has.
function follow(room) {
  const heard = window.heard = { isOpen: false, events: [], socket: [], resumes: [] };
  const source = new EventSource(room);
  source.onopen = () => { heard.isOpen = true; };
  source.onmessage = (event) => heard.events.push(event.data);
  source.addEventListener('gap', () => heard.events.push('gap'));
  let position;
  (function connect() {
    const socket = new WebSocket(`ws://${location.host}${room}?positions${position ? `&since=${position}` : ''}`);
    socket.onmessage = ({ data }) => {
      const [line, text] = [data.slice(0, data.indexOf('\n')), data.slice(data.indexOf('\n') + 1)];
      const [, word, at, how] = /^!(\w+) (\S+) ?(\S*)$/.exec(line) ?? [];
      if (word === 'at') heard.resumes.push(how);
      else if (word) heard.socket.push(word);
      else heard.socket.push(text);
      position = word ? at : line;
    };
    socket.onclose = () => setTimeout(connect, 100);
  })();
}

async function at(entry) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(entry.http('/-/healthz'));
  await page.evaluate(follow, '/lobby');
  await until(() => page.evaluate('heard.isOpen && heard.resumes.length === 1'), 'both to be open');
  return page;
}

test('nobody misses anything when a node is killed, and when it comes back', { timeout: 8 * DEADLINE }, async () => {
  const [first, second] = [await node(), await node()];
  // As behind a load balancer: a connection goes to a node that is there.
  const target = { port: first.port };
  const line = await Line.to(target);
  running.push(line);
  const pages = [await at(line), await at(second)];
  await until(async () => (await (await fetch(second.http('/-/nodes'))).text()).split('"id"').length === 3, 'both nodes');

  let said = 0;
  let isOver = false;
  const talk = (async () => {
    for (; !isOver; said += 1) await post(second.http('/lobby'), `${said}`);
  })();
  const heard = (count) => until(async () => {
    for (const page of pages) {
      if (await page.evaluate('Math.min(heard.events.length, heard.socket.length)') < count) return false;
    }
    return true;
  }, `${count} messages at all`, async () => JSON.stringify(await Promise.all(pages.map((page) => page.evaluate(
    '[heard.events.length, heard.socket.length, heard.resumes]')))));

  await heard(50);
  first.child.process.kill('SIGKILL');
  await within(first.child.ended, 'the end of a node');
  const killed = said;
  // The other one goes on.
  await until(() => said > killed + 50, 'more to be said');
  target.port = second.port;
  await heard(said + 50);

  await first.restart();
  await ready(first);
  target.port = first.port;
  line.cut();
  line.mend();
  await heard(said + 50);
  isOver = true;
  await talk;
  await heard(said);

  const all = Array.from({ length: said }, (_, number) => `${number}`);
  for (const page of pages) {
    const { events, socket, resumes } = await page.evaluate('heard');
    assert.deepEqual(events, all, 'by the EventSource');
    assert.deepEqual(socket, all, 'by the WebSocket');
    assert.deepEqual(new Set(resumes.slice(1)), new Set(resumes.slice(1).map(() => 'complete')));
  }
  const resumes = await pages[0].evaluate('heard.resumes.length');
  assert.ok(resumes >= 3, `${resumes}`);
  console.log(`${said} messages, ${resumes - 1} resumes across nodes`);
});

test('each page lists the people at both nodes, until one is killed', { timeout: 4 * DEADLINE }, async () => {
  const nodes = [await node('--presence', '--node-timeout', '3s'), await node('--presence', '--node-timeout', '3s')];
  const people = [];
  for (const [index, name] of ['Alice', 'Bob'].entries()) {
    const person = await Person.at(browser, nodes[index].http('/team'), name);
    await person.connected();
    await person.name.press('Enter');
    people.push(person);
  }
  const lists = (person, ...names) => {
    const list = person.page.locator('#people li');
    return until(async () => (await list.allTextContents()).join('|') === names.join('|'), names.join(), () => list.allTextContents());
  };
  for (const person of people) {
    await person.page.getByRole('button', { name: '2 here' }).click();
    await lists(person, 'Alice', 'Bob');
  }
  nodes[0].child.process.kill('SIGKILL');
  await within(nodes[0].child.ended, 'the end of a node');
  await lists(people[1], 'Bob');
  await people[1].reads('#who', /^1 here$/);
});
