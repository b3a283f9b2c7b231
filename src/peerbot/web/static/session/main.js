// The session page: what an agent did in a thread, live while it works and from the journal ever after.
import { useEffect, useRef } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { show, told } from "../page.js";
import { counted, webAddress } from "../text.js";
import { Ago } from "../time.js";
import {
  base,
  begin,
  leftOut,
  live,
  search,
  settings,
  settled,
  signOut,
  trouble,
  turns,
  view,
  viewer,
  words,
} from "./state.js";
import { dollars } from "./money.js";
import { Turn } from "./turn.js";

const about = told();

function Page() {
  if (about.refusal) {
    return html`<${Notice} title="You are not signed in" words=${about.refusal} to=${about.to} again />`;
  }
  if (base === "/sessions") {
    return html`<${Notice} title="Sessions" words="Open a session from its thread in Slack: View session." />`;
  }
  switch (view.value) {
    case "loading":
      return html`
        <main class="alone">
          <p role="status"><span class="spinner"></span> Opening the session…</p>
        </main>
      `;
    case "sign_in":
      return html`<${Notice} title="Sign in to see this session" words=${words.value} to=${base} again />`;
    case "none":
      return html`<${Notice} title="Nothing to see here" words=${words.value} to=${base} other />`;
    case "away":
      return html`
        <main class="alone">
          <h1>The session can't be shown now</h1>
          <p>${words.value}</p>
          <p><button class="button primary" onClick=${begin}>Try again</button></p>
        </main>
      `;
    default:
      return html`<${Session} />`;
  }
}

/** @param {{title: string, words: string, to?: string, again?: boolean, other?: boolean}} props */
function Notice({ title, words, to = "", again = false, other = false }) {
  const address = `/sessions/sign-in?to=${encodeURIComponent(to)}`;
  return html`<main class="alone">
    <h1>${title}</h1>
    <p>${words}</p>
    ${again && html`<p><a class="button primary" href=${address}>Sign in with Slack</a></p>`}
    ${other && html`<p><a class="button" href=${address}>Sign in as somebody else</a></p>`}
  </main>`;
}

function Session() {
  const all = turns.value;
  const usd = all.reduce((sum, turn) => sum + (turn.usd || 0), 0);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => {
    const find = (/** @type {KeyboardEvent} */ event) => {
      const typing = event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        input.current?.focus();
      }
    };
    addEventListener("keydown", find);
    return () => removeEventListener("keydown", find);
  }, []);
  return html`
    <header class="top">
      <div>
        <h1>${settings.value ? settings.value.repository : "Session"}</h1>
        <p class="dim small" role="status">${stateWords()}</p>
      </div>
      <label class="find"><span class="hidden">Search the steps</span>
        <input class="field" type="search" placeholder="Search the steps  /" ref=${input} onInput=${(
          /** @type {any} */ e,
        ) => (searchSoon(e.currentTarget.value))} /></label>
      <div class="who small">
        <span class="dim"><bdi>${viewer.value}</bdi></span>
        <button class="button quiet" onClick=${signOut}>Sign out</button>
      </div>
    </header>
    <main>
      ${trouble.value && html`<p class="notice warning" role="status">${trouble.value} What is here may be old.</p>`}
      <${Held} usd=${usd} />
      ${leftOut.value > 0 && html`<p class="dim">${counted(leftOut.value, "earlier turn")} are not shown here.</p>`}
      ${all.length
        ? all.map((turn, n) => html`<${Turn} key=${turn.number} turn=${turn} newest=${n === all.length - 1} />`)
        : settled.value
        ? html`<p class="dim">Nothing has happened here yet.</p>`
        : html`<p role="status"><span class="spinner"></span> Reading…</p>`}
      <footer class="dim small">Secrets of known formats are masked. That is best effort: what no format matches is shown as it was.</footer>
    </main>
  `;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** @param {string} text */
function searchSoon(text) {
  clearTimeout(timer);
  timer = setTimeout(() => (search.value = text), 150);
}

function stateWords() {
  if (live.value === "waiting") return "Reconnecting…";
  const state = turns.value.at(-1)?.state;
  if (state === "working") return "The agent is at work";
  if (state === "waiting") return "Waits for a worker";
  if (state === "asks") return "The agent waits for an answer";
  return turns.value.length ? "Nothing is under way" : "";
}

/** @param {{usd: number}} props */
function Held({ usd }) {
  const held = settings.value;
  if (!held) return null;
  const address = webAddress(held.repository_url);
  return html`<dl class="held small">
    <div><dt>Began</dt><dd><bdi>${held.began_by}</bdi>, <${Ago} at=${Date.parse(held.began)} /></dd></div>
    <div><dt>Repository</dt><dd>${
    address
      ? html`<a href=${address} target="_blank" rel="noopener noreferrer">${held.repository}</a>`
      : held.repository
  }</dd></div>
    <div><dt>Branch</dt><dd>${held.branch} <span class="dim">from ${held.base}</span></dd></div>
    <div><dt>Model</dt><dd>${held.model || "Claude Code's default"}</dd></div>
    ${
    held.instructions && html`
      <div>
        <dt>Instructions</dt>
        <dd>set by people</dd>
      </div>
    `
  }
    ${
    usd > 0 && html`
      <div>
        <dt>Cost so far</dt>
        <dd>${dollars(usd)}</dd>
      </div>
    `
  }
  </dl>`;
}

show(html`<${Page} />`);
if (!about.refusal && base !== "/sessions") begin();
