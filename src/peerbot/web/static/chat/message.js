// One message: who, when, what, its files, its signs, and what one may do with it.
import { useRef, useState } from "../vendor/hooks.mjs";
import { Component } from "../vendor/preact.mjs";
import { h, html } from "../html.js";
import { counted, size } from "../text.js";
import { Ago, clock, full } from "../time.js";
import { Blocks, RichText } from "./blocks.js";
import { character, Emoji, USUAL } from "./emoji.js";
import { Mrkdwn, plain } from "./mrkdwn.js";
import { act, bot, go, me, nameOf, people, say } from "./state.js";
import { escaped, unescaped } from "./compose.js";

/** @typedef {import("./state.js").Message} Message */

/** @param {Message} message */
export function milliseconds(message) {
  return Number(message.ts) * 1000;
}

/** @param {Message} message */
function author(message) {
  if (message.channel) return bot.value; // a whisper says for whom it is
  return message.user || message.bot_id || "";
}

/** @param {{id: string, name: string}} props */
export function Avatar({ id, name }) {
  if (id === bot.value) return html`<span class="avatar bot" aria-hidden="true"><${Mark} /></span>`;
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.charCodeAt(0)) % 997;
  const letters = name.split(/\s+/).slice(0, 2).map((part) => [...part][0] || "").join("");
  return html`<span class=${`avatar tone-${sum % 6}`} aria-hidden="true">${letters}</span>`;
}

export function Mark() {
  return html`
    <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
      <path d="M9 8h14a3 3 0 0 1 3 3v7.500a3 3 0 0 1-3 3h-6.200L11 26v-4.500H9a3 3 0 0 1-3-3V11a3 3 0 0 1 3-3z"
        fill="currentColor" />
      <path d="m11 12.200 3 2.500-3 2.500m6 .3h4.500" fill="none" stroke="var(--accent)" stroke-width="2"
        stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  `;
}

/**
 * @typedef {object} MessageProps
 * @property {Message} message
 * @property {string} channel
 * @property {boolean} [follows] the message before is by the same person, a moment ago
 * @property {boolean} [inThread]
 * @property {string} viewer the person who looks: another one sees other buttons
 */

/**
 * Drawn again only if the message has changed: 500 of them stay smooth.
 * @extends {Component<MessageProps>}
 */
export class MessageRow extends Component {
  /** @override @param {MessageProps} next */
  shouldComponentUpdate(next) {
    const now = this.props;
    return next.message !== now.message || next.follows !== now.follows || next.viewer !== now.viewer ||
      next.channel !== now.channel;
  }

  /** @override */
  render() {
    return h(Row, this.props);
  }
}

/** @param {MessageProps} props */
function Row({ message, channel, follows, inThread }) {
  const [editing, setEditing] = useState(false);
  const at = milliseconds(message);
  const who = author(message);
  const name = message.username || nameOf(who);
  const kind = people.value[who]?.kind || (message.bot_id ? "bot" : "");
  const whispered = Boolean(message.channel);
  const mine = message.user === me.value && !whispered;
  if (message.subtype === "tombstone") {
    return html`
      <article class="message gone"
        aria-label="A deleted message"><span class="avatar none"></span><p class="dim">This message was deleted.</p></article>
    `;
  }
  const compact = follows && !whispered;
  return html`<article class=${`message ${compact ? "follows" : ""} ${
    whispered ? "whisper" : ""
  }`} aria-label=${`${name}, ${clock(at)}`} data-ts=${message.ts}>
    ${
    compact
      ? html`<time class="margin-time" title=${full(at)}>${clock(at)}</time>`
      : html`<${Avatar} id=${who} name=${name} />`
  }
    <div class="content">
      ${whispered && html`<p class="only-you">Only you see this</p>`}
      ${
    !compact && html`<header>
        <b><bdi>${name}</bdi></b>
        ${kind === "bot" && html`<span class="badge">App</span>`}
        ${kind === "guest" && html`<span class="badge">Guest</span>`}
        ${kind === "external" && html`<span class="badge">Other organization</span>`}
        <time class="dim small" datetime=${new Date(at).toISOString()} title=${full(at)}>${clock(at)}</time>
      </header>`
  }
      ${
    editing
      ? html`<${Edit} message=${message} channel=${channel} done=${() => setEditing(false)} />`
      : html`<${Body} message=${message} channel=${channel} />`
  }
      <${Signs} message=${message} channel=${channel} />
      ${!inThread && message.reply_count && html`<${Replies} message=${message} channel=${channel} />`}
    </div>
    ${
    !whispered && !editing &&
    html`<${Tools} message=${message} channel=${channel} mine=${mine} inThread=${inThread} edit=${() =>
      setEditing(true)} />`
  }
  </article>`;
}

/** @param {{message: Message, channel: string}} props */
function Body({ message, channel }) {
  /** @param {string} action @param {string} value @param {Record<string, string[]>} filled */
  const use = async (action, value, filled) => {
    try {
      await act("press", { channel, ts: message.ts, action, value, filled });
    } catch (error) {
      say(error);
    }
  };
  const blocks = message.blocks || [];
  const onlyText = blocks.length === 0;
  return html`<div class=${message.subtype === "me_message" ? "body me" : "body"}>
    ${onlyText && message.text && html`<${Mrkdwn} text=${message.text} />`}
    ${!onlyText && html`<${Blocks} blocks=${blocks} use=${use} />`}
    ${message.edited && html`<span class="dim small">(edited)</span>`}
    ${(message.files || []).map((/** @type {any} */ file) => html`<${File} key=${file.id} file=${file} />`)}
    ${(message.attachments || []).map((/** @type {any} */ each) => html`<${Attachment} each=${each} />`)}
  </div>`;
}

/** @param {{file: any}} props */
function File({ file }) {
  const name = file.title || file.name || "A file";
  if (file.mode === "tombstone") return html`<p class="dim">This file was deleted.</p>`;
  if (!file.name) return html`<p class="dim">A file of another organization.</p>`;
  const address = `/page/files/${encodeURIComponent(file.id)}?pass=${file.pass}`;
  const picture = /^image\/(png|jpeg|gif|webp)$/.test(file.mimetype || "");
  return html`<figure class="file">
    ${picture && html`<img class="picture" src=${address} alt=${name} loading="lazy" />`}
    <figcaption class="card">
      <span class="file-sign" aria-hidden="true">${picture ? "▣" : "▤"}</span>
      <span><a href=${`${address}&download`} download=${file.name}><bdi>${name}</bdi></a>
      <span class="dim small">${file.pretty_type || "File"}, ${size(file.size || 0)}</span></span>
    </figcaption>
  </figure>`;
}

/** @param {{each: any}} props */
function Attachment({ each }) {
  const rich = each.message_blocks?.[0]?.message?.blocks;
  return html`<blockquote class="attachment">
    ${each.author_name && html`<b>${each.author_name}</b>`}
    ${
    rich
      ? rich.map((/** @type {any} */ block) => block.type === "rich_text" ? html`<${RichText} block=${block} />` : null)
      : each.text && html`<${Mrkdwn} text=${each.text} />`
  }
    ${!each.text && !rich && each.fallback && html`<p>${plain(each.fallback)}</p>`}
    ${each.footer && html`<span class="dim small">${each.footer}</span>`}
  </blockquote>`;
}

/** @param {{message: Message, channel: string}} props */
function Signs({ message, channel }) {
  const signs = message.reactions || [];
  if (!signs.length) return null;
  return html`<div class="signs">${
    signs.map((/** @type {any} */ sign) => {
      const who = sign.users.map(nameOf).join(", ");
      const mine = sign.users.includes(me.value);
      return html`
        <button key=${sign.name} type="button" class=${mine ? "sign-button mine" : "sign-button"} aria-pressed=${mine}
          title=${`${who}: :${sign.name}:`}
          onClick=${() => act("react", { channel, ts: message.ts, name: sign.name }).catch(say)}>
                <${Emoji} name=${sign.name} /> <span>${sign.users
                  .length}</span><span class="hidden">, by ${who}</span></button>
      `;
    })
  }</div>`;
}

/** @param {{message: Message, channel: string}} props */
function Replies({ message, channel }) {
  return html`
    <button type="button" class="replies" onClick=${() => go(channel, message.ts)}>
      <span class="faces" aria-hidden="true">${(message.reply_users || []).slice(0, 3).map((/** @type {string} */ id) =>
        html`<${Avatar} id=${id} name=${nameOf(id)} />`
      )}</span>
      <b>${counted(message.reply_count, "reply", "replies")}</b>
      <span class="dim small">Last <${Ago} at=${Number(message.latest_reply) * 1000} /></span>
    </button>
  `;
}

let menus = 0;

/** @param {{message: Message, channel: string, mine: boolean, inThread?: boolean, edit: () => void}} props */
function Tools({ message, channel, mine, inThread, edit }) {
  const id = useRef(`signs-${menus++}`);
  /** @param {string} name */
  const put = (name) => {
    document.getElementById(id.current)?.hidePopover();
    act("react", { channel, ts: message.ts, name }).catch(say);
  };
  return html`<div class="tools" role="toolbar" aria-label="What to do with this message">
    <button type="button" popovertarget=${id.current} aria-label="Put a sign on it" title="Put a sign on it">☺</button>
    ${
    !inThread && html`<button type="button" aria-label="Reply in a thread" title="Reply in a thread" onClick=${() =>
      go(channel, message.ts)}>↩</button>`
  }
    ${mine && html`<button type="button" class="edit" aria-label="Edit" title="Edit" onClick=${edit}>✎</button>`}
    ${
    mine &&
    html`<button type="button" aria-label="Delete" title="Delete" onClick=${() =>
      act("delete", { channel, ts: message.ts }).catch(say)}>🗑</button>`
  }
    <div popover id=${id.current} class="menu-list signs-list" role="menu" aria-label="Signs">
      ${
    USUAL.map((name) =>
      html`<button type="button" role="menuitem" aria-label=${
        name.replaceAll("_", " ")
      } title=${`:${name}:`} onClick=${() => put(name)}>${character(name) || name}</button>`
    )
  }
    </div>
  </div>`;
}

/** @param {{message: Message, channel: string, done: () => void}} props */
function Edit({ message, channel, done }) {
  const [text, setText] = useState(() => unescaped(message.text));
  const save = async () => {
    try {
      await act("edit", { channel, ts: message.ts, text: escaped(text.trim()) });
      done();
    } catch (error) {
      say(error);
    }
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    if (event.key === "Escape") done();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      save();
    }
  };
  /** @param {HTMLTextAreaElement | null} element */
  const focus = (element) => {
    if (element && document.activeElement !== element && !element.dataset.seen) {
      element.dataset.seen = "yes";
      element.focus();
      element.setSelectionRange(element.value.length, element.value.length);
    }
  };
  return html`
    <div class="editing">
      <textarea class="field" aria-label="Edit your message" ref=${focus} value=${text} dir="auto"
        onKeyDown=${key}
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}></textarea>
      <div class="actions">
        <button type="button" class="button" onClick=${done}>Cancel</button>
        <button type="button" class="button primary" onClick=${save}>Save</button>
      </div>
    </div>
  `;
}
