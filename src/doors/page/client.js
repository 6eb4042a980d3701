// A client of hubcast's rooms that comes back, and goes on where it was.
//
//   const room = new Hubcast('/lobby', { token, last: 20, position });   // the room's address; the rest may be left out
//   room.onmessage = (data, position) => …;   // a text, or an ArrayBuffer; of '/?room=a&room=b' the third argument is the room
//   room.ongap = () => …;                     // messages are missing here: the room has forgotten them
//   room.onstate = (state, why) => …;         // 'connecting', 'open', 'waiting', or 'closed' for good
//   room.send(data);                          // returns whether there was a connection to send it by
//   room.position;                            // up to here everything has come; to be kept over a reload
//   room.close();
'use strict';

class Hubcast {
  #address; #token; #last; #socket = null; #timer = 0; #tries = 0; #isOver = false;
  onmessage = () => {};
  ongap = () => {};
  onstate = () => {};

  constructor(room, { token = '', last = 0, position = '' } = {}) {
    this.#address = new URL(room, location.href);
    this.#address.hash = '';
    this.#token = String.fromCharCode(...new TextEncoder().encode(token));
    this.#last = last;
    this.position = position;
    addEventListener('online', () => { if (this.#timer) this.#connect(); });
    this.#timer = setTimeout(() => this.#connect());
  }

  send(data) {
    const isOpen = this.#socket?.readyState === WebSocket.OPEN;
    if (isOpen) this.#socket.send(data);
    return isOpen;
  }

  close() { this.#socket?.close(); this.#end('closed by the page'); }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.onstate('connecting');
    const url = new URL(this.#address);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('positions', '');
    if (this.position) url.searchParams.set('since', this.position);
    else if (this.#last) url.searchParams.set('last', this.#last);
    const token = btoa(this.#token).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const ws = this.#socket = new WebSocket(url, token ? ['hubcast', `hubcast.token.${token}`] : []);
    ws.binaryType = 'arraybuffer';
    let opened = 0;
    ws.onopen = () => { opened = Date.now(); if (!this.#isOver) this.onstate('open'); };
    ws.onmessage = ({ data }) => { if (!this.#isOver) this.#receive(data); };
    ws.onclose = async ({ code, reason }) => {
      // Before it opens, the browser does not say why it was refused, so a plain request asks again.
      const why = opened ? this.#isFinal(code, reason) && (reason || `code ${code}`) : await this.#refusal();
      if (this.#isOver) return;
      if (why) return this.#end(why);
      if (opened && Date.now() - opened > 10e3) this.#tries = 0;
      const [, told = 0] = /come back in (\d+\.?\d*) s/.exec(reason) ?? [];
      const pause = Math.min(30e3, 1e3 * 2 ** this.#tries) * (1 - Math.random() / 2);
      this.#tries += 1;
      this.#timer = setTimeout(() => this.#connect(), Math.max(pause, told * 1e3));
      this.onstate('waiting', reason);
    };
  }

  // Each message begins with a line of the server's own; of a message of bytes as well.
  #receive(data) {
    const bytes = typeof data !== 'string' && new Uint8Array(data);
    const end = bytes ? bytes.indexOf(10) : data.indexOf('\n');
    const line = bytes ? new TextDecoder().decode(bytes.subarray(0, end)) : data.slice(0, end);
    const [first, from, to] = line.split(' ');
    if (first === '!at') this.position = from;
    else if (first === '!gap') { this.position = to; this.ongap(); }
    else if (first === '!direct') this.onmessage(data.slice(end + 1), '');
    else if (first[0] !== '!') { this.position = first; this.onmessage(data.slice(end + 1), first, line.slice(first.length + 1)); }
  }

  // See the table of close codes in the guide.
  #isFinal(code, reason) {
    if (code === 1008) return !/^slow consumer|not completed in time/.test(reason);
    return code === 1000 || code === 1002 || code === 1007 || code >= 3000;
  }

  async #refusal() {
    const headers = { Accept: 'application/json' };
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    const answer = await fetch(this.#address, { headers, cache: 'no-store' }).catch(() => {});
    return answer && [400, 401, 403, 404].includes(answer.status) && (await answer.text()).trim();
  }

  #end(why) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#isOver) { this.#isOver = true; this.onstate('closed', why); }
  }
}
