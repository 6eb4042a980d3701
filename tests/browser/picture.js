// Makes the README's picture, src/guide/first-chat.png: the page beside a terminal, both as they are.

import { fileURLToPath } from 'node:url';

import { Events, Person, Server, launch, publish, until } from './support.js';

const file = fileURLToPath(new URL('../../src/guide/first-chat.png', import.meta.url));
const size = { width: 430, height: 400 };
const url = (room) => `http://127.0.0.1:8080${room}`;
const typed = (line) => `<b>$ ${line}</b>`;

const server = await Server.start('--allow-publish');
const browser = await launch();
const events = new Events(server.http('/lobby'));
const printed = (text) => until(() => events.lines.some((line) => line.endsWith(text)), text);
await printed('welcome');

const bob = await Person.at(browser, server.http('/lobby'), 'bob');
const ann = await Person.at(browser, server.http('/lobby'), 'ann', { viewport: size, colorScheme: 'light' });
await Promise.all([ann.connected(), bob.connected()]);
await bob.say('is the build green?');
await ann.sees('is the build green?');
await ann.say('yes, I deploy now');
await bob.sees('yes, I deploy now');
const answer = JSON.stringify(await publish(server.http('/lobby'), 'deploy done'));
await ann.sees('deploy done');
await bob.sees('deploy done');
await ann.say('there it is');
await bob.sees('there it is');
await printed('there it is');

const page = (await ann.page.screenshot()).toString('base64');
const context = await browser.newContext({ viewport: { width: 2 * size.width + 20, height: size.height } });
const picture = await context.newPage();
await picture.setContent(`<style>
  body { margin: 0; display: flex; gap: 20px; background: white }
  img { width: ${size.width}px; height: ${size.height}px; border: 1px solid #bbb; border-radius: 6px; box-sizing: border-box }
  pre { flex: 1; margin: 0; padding: 12px; border-radius: 6px; background: #1b1e24; color: #cdd3de; font: 12px/1.35 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow: hidden }
  b { color: #9ece6a; font-weight: normal }
</style><img src="data:image/png;base64,${page}"><pre>${typed(`curl -N -H 'Accept: text/event-stream' \\\n    ${url('/lobby')}`)}\n${events.lines.join('\n')}
<hr>${typed(`curl -d 'deploy done' ${url('/lobby')}`)}\n${answer}</pre>`);
await picture.screenshot({ path: file });
await browser.close();
await events.stop();
await server.stop();
