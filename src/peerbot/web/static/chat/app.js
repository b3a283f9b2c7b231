// The chat page: a workspace of people, channels and threads, on the local Slack.
import { useEffect, useLayoutEffect, useRef } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { KeyForm, takeKey } from "../door.js";
import { show, told } from "../page.js";
import { day } from "../time.js";
import { Composer } from "./composer.js";
import { drawer, Menu } from "./drawer.js";
import { Hood, hood } from "./hood.js";
import { Avatar, Mark, MessageRow, milliseconds } from "./message.js";
import * as state from "./state.js";
import { Home, Modals } from "./views.js";
import { Welcome } from "./welcome.js";
import { bringKey } from "../github/links.js";

function App() {
  const { connection, place } = state;
  if (connection.value === "gone") return html`<${Gone} />`;
  if (!state.me.value) {
    return html`<div class="empty whole"><span class="spinner"></span><p role="status">Opening the workspace …</p></div>`;
  }
  const { channel, thread } = place.value;
  return html`<div class=${`frame ${thread ? "with-thread" : ""} ${drawer.value ? "with-drawer" : ""} ${
    hood.value ? "with-hood" : ""
  }`}>
    <${Side} />
    <main class="columns">
      <h1 class="hidden">PeerBot on this machine</h1>
      ${channel === state.HOME ? html`<${Home} />` : html`<${Channel} key=${channel} />`}
      ${thread && html`<${Thread} key=${thread} />`}
    </main>
    ${hood.value && html`<${Hood} />`}
    <${Modals} />
    <${Notices} />
  </div>`;
}

function Gone() {
  return html`<main class="empty whole"><span class="avatar bot large"><${Mark} /></span>
    <h1>This page needs its key</h1>
    <p>PeerBot was started again, or this address was copied without its key. Open the address that <code>peerbot local</code> has printed in your terminal.</p>
    <p class="dim">The key keeps other programs on this machine, the agent among them, from acting as you.</p>
    <${KeyForm} again=${() => state.load()} />
  </main>`;
}

function Notices() {
  const { connection, spoken, trouble } = state;
  return html`
    <div class="notices">
      <p class="hidden" aria-live="polite">${spoken.value}</p>
      <div role="status">${connection.value === "waiting" &&
        html`<p class="notice warning"><span class="spinner"></span> Not connected. Trying again …</p>`}</div>
      <div role="alert">${trouble.value && html`<p class="notice error">${trouble.value}
      <button type="button" class="button quiet" aria-label="Dismiss" onClick=${() => (trouble.value =
        "")}>✕</button></p>`}</div>
    </div>
  `;
}

/** @type {Record<string, string>} */
const KINDS = {
  member: "member",
  admin: "admin",
  guest: "guest",
  external: "other organization",
  deactivated: "deactivated",
};

function Side() {
  const { channels, people, me, place, unread } = state;
  const people_ = Object.values(people.value).filter((each) => each.kind !== "bot");
  /** @param {string} id @param {import("../html.js").Children} sign @param {string} name @param {string} note */
  const entry = (id, sign, name, note = "") => {
    const here = place.value.channel === id;
    const count = unread.value[id] || 0;
    return html`<li><button type="button" class=${count && !here ? "entry news" : "entry"} aria-current=${
      here ? "page" : undefined
    }
      onClick=${() => (drawer.value = false, state.go(id))}>
      <span class="entry-sign" aria-hidden="true">${sign}</span><span class="entry-name">${name}</span>
      ${note && html`<span class="entry-note">${note}</span>`}
      ${count > 0 && !here && html`<span class="count" aria-label=${`${count} new`}>${count}</span>`}
    </button></li>`;
  };
  const direct = channels.value.filter((each) => each.kind === "im");
  return html`
    <nav class="side" aria-label="Workspace">
      <header><span class="avatar bot"><${Mark} /></span><b>PeerBot on this machine</b></header>
      <div class="entries">
        <ul>${entry(state.HOME, "⌂", "Home")}</ul>
        <h2>Channels</h2>
        <ul>${channels.value.filter((each) => each.kind !== "im").map((each) =>
          entry(
            each.id,
            each.kind === "private" ? html`<${Lock} />` : "#",
            each.name,
            each.shared ? "shared" : each.kind === "private" ? "private" : "",
          )
        )}</ul>
        <h2>Direct messages</h2>
        <ul>${direct.map((each) =>
          entry(
            each.id,
            html`<${Avatar} id=${each.members.find((id) => id !== me.value) || ""} name=${state.channelName(each)} />`,
            state.channelName(each),
          )
        )}</ul>
      </div>
      <footer>
        <label for="who">You write as</label>
        <select id="who" value=${me.value} onChange=${(/** @type {any} */ event) =>
          state.load(event.currentTarget.value)}>
            ${people_.map((each) =>
              html`<option value=${each.id}>${each.name} (${KINDS[each.kind] || each.kind})</option>`
            )}
          </select>
        <${About} />
      </footer>
    </nav>
  `;
}

function Lock() {
  return html`
    <svg viewBox="0 0 16 16" width="13" height="13">
      <path d="M4.500 7V5a3.500 3.500 0 0 1 7 0v2" fill="none" stroke="currentColor" stroke-width="1.600" />
      <rect x="3" y="7" width="10" height="7" rx="1.500" fill="currentColor" />
    </svg>
  `;
}

function About() {
  const { model } = state.about.value;
  return html`
    <div class="about">
      <p class="about-model" role="status">${state.views.value.hears
        ? model?.heading
        : "The bot is not connected. What you write is kept, and it catches up."}</p>
      <button type="button" class="entry small" onClick=${theme}>Light or dark</button>
      <button type="button" class="entry small" aria-keyshortcuts="Alt+U"
        onClick=${() => (hood.value = !hood
          .value)}>Under the hood <kbd>Alt U</kbd></button>
    </div>
  `;
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `peerbot-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
}

function Channel() {
  const { channel, me, messages, whispers } = state;
  const here = channel.value;
  if (!here) {
    return html`
      <section class="main">
        <div class="empty">
          <p>There is no such channel for you.</p>
        </div>
      </section>
    `;
  }
  const { messages: list, more } = messages.value[here.id] || { messages: [], more: false };
  const mine = whispers.value.filter((each) => each.channel === here.id && !each.thread_ts);
  const all = [...list, ...mine].sort((a, b) => (a.ts < b.ts ? -1 : 1));
  const name = here.kind === "im" ? state.channelName(here) : `#${here.name}`;
  const kind = here.shared
    ? "Shared with another organization"
    : here.kind === "private"
    ? "Private"
    : here.kind === "im"
    ? "Direct message"
    : `${here.members.length} members`;
  return html`
    <section class="main" aria-label=${name}>
      <header class="top"><${Menu} /><h2>${here.kind === "im"
        ? ""
        : html`<span class="dim" aria-hidden="true">#</span>`}${here.kind === "im" ? name : here.name}</h2>
          <span class="dim small">${kind}</span></header>
      <${Log} label=${`Messages in ${name}`} messages=${all} channel=${here.id} more=${more}>
          ${all.length === 0 && html`<${Welcome} channel=${here} />`}
        <//>
        <${Composer} key=${here.id} channel=${here.id} name=${here.kind === "im"
          ? `Message ${name}`
          : `Message ${name}: @peerbot …`}
          closed=${here.archived
            ? "This channel is closed."
            : here.members.includes(me.value)
            ? ""
            : "You are not in this channel."} />
      </section>
  `;
}

function Thread() {
  const { channel, place, threadKey, threads, views, whispers } = state;
  const { channel: id, thread } = place.value;
  const list = threads.value[threadKey.value];
  const mine = whispers.value.filter((each) => each.channel === id && each.thread_ts === thread);
  const all = [...(list || []), ...mine].sort((a, b) => (a.ts < b.ts ? -1 : 1));
  const working = views.value.working.includes(threadKey.value);
  const here = channel.value;
  const close = () => state.go(id);
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    if (event.key !== "Escape" || document.querySelector(":popover-open")) return;
    close();
    document.querySelector(/** @type {"textarea"} */ (".main .composer textarea"))?.focus();
  };
  return html`<section class="thread" aria-label="Thread" onKeyDown=${press}>
    <header class="top"><h2>Thread</h2><span class="dim small">${
    here && (here.kind === "im" ? state.channelName(here) : `#${here.name}`)
  }</span>
      <button type="button" class="button quiet close" aria-label="Close the thread" onClick=${close}>✕</button></header>
    ${
    list
      ? html`<${Log} label="Messages in the thread" messages=${all} channel=${id} inThread=${true}>
          ${
        all.length === 0 && html`
          <div class="empty">
            <p>There is no such thread for you.</p>
          </div>
        `
      }<//>`
      : html`<div class="empty log"><span class="spinner"></span><p>Loading …</p></div>`
  }
    ${
    working && html`<div class="working"><span class="spinner"></span><span>PeerBot is at work</span>
      <button type="button" class="button" onClick=${() =>
      state.act("stop", { channel: id, thread_ts: thread }).catch(state.say)}>Stop</button></div>`
  }
    <${Composer} key=${threadKey.value} channel=${id} thread=${thread} name="Reply …" closed=${
    here?.members.includes(state.me.value) ? "" : "You are not in this channel."
  } />
  </section>`;
}

/**
 * Messages, oldest first. It stays at its end while the person is there, and where it is while they read above.
 * @param {{label: string, messages: any[], channel: string, more?: boolean, inThread?: boolean, children?: any}} props
 */
function Log({ label, messages, channel, more = false, inThread = false, children }) {
  const log = useRef(/** @type {HTMLDivElement | null} */ (null));
  const atEnd = useRef(messages.length > 0); // a welcome is read from its beginning
  const first = useRef("");
  const height = useRef(0);
  const toEnd = () => {
    const element = log.current;
    // Where most messages are not drawn it takes several layouts: only if it changes something.
    if (element && element.scrollHeight - element.scrollTop - element.clientHeight > 1) {
      element.lastElementChild?.scrollIntoView({ block: "end" });
    }
  };
  const place = () => {
    const element = log.current;
    if (!element) return;
    if (!first.current && messages.length) atEnd.current = true;
    // Earlier messages came in above: what the person reads stays where it is.
    if (first.current && messages[0]?.ts < first.current) element.scrollTop += element.scrollHeight - height.current;
    else if (atEnd.current) toEnd();
    first.current = messages[0]?.ts || "";
    height.current = element.scrollHeight;
  };
  useLayoutEffect(place, [messages]);
  useEffect(() => {
    const inner = log.current?.firstElementChild;
    if (!inner) return;
    const watch = new ResizeObserver(() => {
      if (atEnd.current) toEnd();
    });
    watch.observe(inner);
    return () => watch.disconnect();
  }, []);
  const scrolled = () => {
    const element = log.current;
    if (element) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  };
  let before = "";
  /** @type {any} */
  let last = null;
  return html`
    <div class="log" ref=${log} role="log" aria-live="off" aria-label=${label} tabindex="0" onScroll=${scrolled}>
      <div class="messages">
        ${more &&
          html`<button type="button" class="button earlier" onClick=${() =>
            state.loadMore(channel).catch(state.say)}>Earlier messages</button>`}
        ${children}
        ${messages.flatMap((message, n) => {
          const today = day(milliseconds(message));
          const newDay = today !== before && !inThread;
          const follows = !newDay && last && last.user === message.user && !last.channel && !message.channel &&
            message.user &&
            milliseconds(message) - milliseconds(last) < 240_000 && !(inThread && n === 1) && !last.reply_count;
          before = today;
          last = message;
          return [
            newDay && html`<div class="day" key=${`day-${today}`}><span>${today}</span></div>`,
            h(MessageRow, {
              key: message.ts,
              message,
              channel,
              follows: Boolean(follows),
              inThread,
              viewer: state.me.value,
            }),
            inThread && n === 0 && messages.length > 1 &&
            html`<div class="day thread-line" key="replies"><span>${messages.length - 1} ${
              messages.length === 2 ? "reply" : "replies"
            }</span></div>`,
          ];
        })}
        </div>
      <div class="end"></div>
    </div>
  `;
}

addEventListener("keydown", (event) => {
  if (event.altKey && event.key.toLowerCase() === "u") {
    event.preventDefault();
    hood.value = !hood.value;
  }
});

bringKey(() => state.about.value.github);

state.bot.value = told().bot;
takeKey();
state.load();
show(html`<${App} />`);
