// The Content-Security-Policy that the page is served with, computed from the page: each of its two elements is allowed by the
// hash of its content. `node tests/browser/csp.js` prints it, for the one place in the server that states it.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const piece = (name) => readFileSync(new URL(`../../src/doors/page/${name}`, import.meta.url), 'utf8');

// As the server joins the pieces; a test compares the two.
export const page = [
  piece('head.html'),
  '<style>\n', piece('page.css'), '</style>\n</head>\n',
  piece('body.html'),
  '<script>\n', piece('page.js'), '</script>\n</body>\n</html>\n',
].join('');

export function policy(html = page) {
  return [
    "default-src 'none'",
    `style-src ${hash(html, 'style')}`,
    `script-src ${hash(html, 'script')}`,
    // Covers ws: and wss: of the same host and port too (CSP 3, section 6.7.2.8).
    "connect-src 'self'",
    // The icon.
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    // The browser itself then refuses every way from text to HTML.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

function hash(html, element) {
  const [, ...openings] = html.split(`<${element}>`);
  if (openings.length !== 1) throw new Error(`the page has ${openings.length} times <${element}>; the policy allows one`);
  const content = openings[0].slice(0, openings[0].indexOf(`</${element}>`));
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
}

if (argv[1] === fileURLToPath(import.meta.url)) console.log(policy());
