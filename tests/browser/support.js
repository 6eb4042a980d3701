// The world a test runs in: the real server binary, Chromium, and a plain WebSocket client.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { env } from 'node:process';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const pictures = join(root, 'target/browser');
mkdirSync(pictures, { recursive: true });

// How long anything may take; a slow machine multiplies it.
export const DEADLINE = 20e3 * Number(env.HUBCAST_TEST_TIME_FACTOR ?? 1);

function program(name) {
  for (const folder of [join(root, 'target/tools/bin'), ...env.PATH.split(delimiter)]) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {}
  }
  throw new Error(`${name} is not installed; \`make test-browser\` does that`);
}

/** Settles as `promise` does, or fails at the deadline with what was being waited for. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = globalThis.setTimeout(() => fail(new Error(`waited ${DEADLINE} ms for ${what}`)), DEADLINE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until the condition holds, which `state` explains where it does not. */
export async function until(condition, what, state = () => '') {
  const late = performance.now() + DEADLINE;
  while (!await condition()) {
    if (performance.now() > late) throw new Error(`waited ${DEADLINE} ms for ${what}: ${await state()}`);
    await setTimeout(10);
  }
}

/** A child process whose output is read by the line; a line stays until somebody waits for it. */
class Child {
  constructor(file, args, stream) {
    this.process = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    // Not "exit": what it has written by then may not have been read yet.
    this.ended = once(this.process, 'close');
    this.lines = [];
    this.heard = new EventEmitter();
    this.errors = '';
    this.process.stderr.setEncoding('utf8').on('data', (text) => { this.errors += text; });
    this.process.stdout.on('error', () => {});
    this.process.stdin.on('error', () => {});
    const reader = createInterface({ input: this.process[stream] });
    reader.on('line', (line) => { this.lines.push(line); this.heard.emit('line'); });
    this.printed = [];
    if (stream === 'stderr') createInterface({ input: this.process.stdout }).on('line', (line) => this.printed.push(line));
  }

  async line(wanted, what = 'a line') {
    const find = async () => {
      for (;;) {
        const index = this.lines.findIndex(wanted);
        if (index >= 0) return this.lines.splice(0, index + 1).pop();
        await once(this.heard, 'line');
      }
    };
    const gone = this.ended.then(() => { throw new Error(`the process ended before ${what}: ${this.errors}`); });
    return within(Promise.race([find(), gone]), what);
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGINT');
    try {
      await within(this.ended, 'the end of a process');
    } catch (error) {
      this.process.kill('SIGKILL');
      throw error;
    }
  }
}

/** The server, as an operator starts it. Port 0 the first time; a restart takes the same port again. */
export class Server {
  static async start(...options) {
    const server = new Server();
    server.options = options;
    server.port = 0;
    await server.restart();
    return server;
  }

  async restart() {
    const file = env.HUBCAST ?? join(root, 'target/release/hubcast');
    // Without pings and keepalives, so that no wait is helped by what happens to come next.
    this.child = new Child(file, ['--listen', `127.0.0.1:${this.port}`, '--ping-interval', '0', ...this.options], 'stderr');
    const line = await this.child.line((text) => text.includes('listening on ws://'), 'the server to listen');
    this.port = Number(/listening on ws:\/\/127\.0\.0\.1:(\d+)\//.exec(line)[1]);
  }

  stop() { return this.child.stop(); }
  http(room) { return `http://127.0.0.1:${this.port}${room}`; }
  ws(room) { return `ws://127.0.0.1:${this.port}${room}`; }
}

/** The network between a browser and the server, which can be cut. */
export class Line {
  /** `change` is given what the browser says, in pieces, and returns what the server hears. */
  static async to(server, change) {
    const line = new Line();
    line.ends = new Set();
    line.isCut = false;
    line.entry = createServer((near) => {
      if (line.isCut) return near.destroy();
      const far = connect(server.port, '127.0.0.1');
      near.far = far;
      if (change) near.on('data', (piece) => far.write(change(piece)));
      for (const [end, other] of [[near, far], [far, near]]) {
        line.ends.add(end);
        end.on('error', () => {}).on('close', () => { line.ends.delete(end); other.destroy(); });
        if (end === far || !change) end.pipe(other);
      }
    });
    line.entry.listen(0, '127.0.0.1');
    await once(line.entry, 'listening');
    line.port = line.entry.address().port;
    return line;
  }

  cut() {
    this.isCut = true;
    for (const end of this.ends) end.destroy();
  }

  mend() { this.isCut = false; }

  /** What the server says from now on goes nowhere. */
  mute() { for (const end of this.ends) end.far?.unpipe(end).resume(); }

  stop() {
    this.cut();
    return new Promise((closed) => { this.entry.close(closed); });
  }

  http(room) { return `http://127.0.0.1:${this.port}${room}`; }
}

/** websocat in a room: what somebody at a terminal reads and writes. */
export class Websocat extends Child {
  constructor(url, ...options) { super(program('websocat'), [...options, url], 'stdout'); }
  say(text) { this.process.stdin.write(`${text}\n`); }
  sends(bytes) { this.process.stdin.end(bytes); }
}

/** curl, following a room's events. */
export class Events extends Child {
  constructor(url) { super(program('curl'), ['-sSN', '-H', 'Accept: text/event-stream', url], 'stdout'); }
  texts() {
    // An event is whole once its empty line is there, whether or not anything follows.
    const events = this.lines.map((line) => `${line}\n`).join('').split('\n\n').slice(0, -1);
    return events.filter((event) => event.startsWith('data: ')).map((event) => event.replaceAll(/^data: /gm, ''));
  }
}

/** Publishes a text by curl, as `curl -d` does, and returns what the server says to it. */
export async function publish(url, text) {
  const { stdout } = await promisify(execFile)(program('curl'), ['-sS', '--fail-with-body', '--data-raw', text, url], { timeout: DEADLINE });
  return JSON.parse(stdout);
}

/** What a shell prints that is given these lines to read. */
export async function typed(shell, options, lines, cwd) {
  const path = [join(root, 'target/tools/bin'), env.PATH].join(delimiter);
  const run = promisify(execFile)(shell, options, { cwd, timeout: DEADLINE, env: { ...env, PATH: path } });
  run.child.stdin.on('error', () => {}).end(lines);
  return (await run).stdout;
}

/** Posts a message and returns once the server has taken it. */
export async function post(url, body) {
  const answer = await fetch(url, { method: 'POST', body, signal: AbortSignal.timeout(DEADLINE) });
  assert.equal(answer.status, 202, await answer.text());
}

export function launch() {
  return chromium.launch({
    executablePath: program(env.CHROMIUM ?? 'chromium'),
    args: [
      // Not every browser turns a pattern that takes quadratic time into one that does not.
      '--js-flags=--no-regexp-optimization',
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
}

/** One person at a browser of their own: a page, what its console says, and the things a person looks at and does. */
export class Person {
  static async at(browser, url, name, options = {}) {
    const { before, ...context } = options;
    const person = new Person();
    person.context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...context });
    person.context.setDefaultTimeout(DEADLINE);
    const page = person.page = await person.context.newPage();
    person.complaints = [];
    person.requests = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) person.complaints.push(`${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => person.complaints.push(String(error)));
    page.on('request', (request) => person.requests.push(request.url()));
    await before?.(page);
    person.answer = await page.goto(url);
    if (name) await person.name.fill(name);
    return person;
  }

  get name() { return this.page.getByRole('textbox', { name: 'Name', exact: true }); }
  get writing() { return this.page.getByRole('textbox', { name: 'Message' }); }
  get log() { return this.page.getByRole('log', { name: 'Messages' }); }

  connected() { return this.page.locator('[data-state="open"]').waitFor(); }

  async say(text) {
    await this.writing.fill(text);
    await this.writing.press('Enter');
  }

  /** Waits for a message with exactly this text and returns what is seen of it. */
  async sees(text) {
    const find = (wanted) => [...document.querySelectorAll('#list li:not(.sending)')]
      .findLast((item) => item.querySelector('.text')?.textContent === wanted);
    const handle = await this.page.waitForFunction(find, text).catch(async (cause) => {
      const shown = (await this.page.locator('#list').innerText()).slice(-300);
      throw new Error(`${JSON.stringify(text.slice(0, 100))} is not shown, but … ${JSON.stringify(shown)}`, { cause });
    });
    return handle.evaluate((item) => ({
      name: item.querySelector('.name')?.textContent ?? '',
      mine: item.classList.contains('mine'),
      time: item.querySelector('time').textContent,
      elements: item.querySelector('.text').childElementCount,
    }));
  }

  /** Comes back to the page, which then asks anew how many are here; it would by itself, up to 10 s later. */
  looks() { return this.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange'))); }

  /** The texts in the log, notes of the page itself aside. */
  texts() { return this.page.locator('#list .text').allTextContents(); }

  /** Waits until the element shows a text that matches. */
  reads(selector, pattern) {
    return within(this.page.locator(selector).filter({ hasText: pattern, visible: true }).waitFor(), `${selector} to read ${pattern}`);
  }

  /** Measures from here on for how long the page answers nothing; call what is returned for the longest time so far, in ms. */
  async measureStalls() {
    await this.page.evaluate(() => {
      let last = performance.now();
      window.longestStall = 0;
      setInterval(() => {
        const now = performance.now();
        window.longestStall = Math.max(window.longestStall, now - last);
        last = now;
      }, 10);
    });
    return () => this.page.evaluate(() => window.longestStall);
  }

  picture(name) { return this.page.screenshot({ path: join(pictures, `${name}.png`) }); }

  /** Nothing in the console but what matches one of `expected`. */
  hasCleanConsole(...expected) {
    assert.deepEqual(this.complaints.filter((text) => !expected.some((pattern) => pattern.test(text))), []);
  }
}
