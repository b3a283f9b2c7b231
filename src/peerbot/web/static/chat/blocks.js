// Slack's blocks, drawn as Slack would.
import { useMemo } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { Markdown } from "../markdown.js";
import { webAddress } from "../text.js";
import { doing, Element, Unknown, words } from "./elements.js";
import { Emoji } from "./emoji.js";
import { ChannelLink, Link, Mention, plain } from "./mrkdwn.js";

/** @typedef {import("./elements.js").Doing} Doing */

/**
 * The blocks of a message or a view.
 * @param {{blocks: any[], use: Doing["use"]}} props
 */
export function Blocks({ blocks, use }) {
  const shape = blocks.map((block) => block.block_id).join();
  const on = useMemo(() => doing(blocks, use), [shape]);
  return html`<div class="blocks">${
    blocks.map((block) => html`<${Block} key=${block.block_id} block=${block} on=${on} />`)
  }</div>`;
}

/** @param {{block: any, on: Doing}} props */
export function Block({ block, on }) {
  switch (block.type) {
    case "markdown":
      return html`<${Markdown} text=${block.text} />`;
    case "section":
      return html`<${Section} block=${block} on=${on} />`;
    case "context":
      return html`<div class="context">${
        block.elements.map((/** @type {any} */ each) =>
          each.type === "image" ? html`<span class="named">${each.alt_text}</span>` : html`<span>${words(each)}</span>`
        )
      }</div>`;
    case "actions":
    case "context_actions":
      return html`<div class="actions">${
        block.elements.map((/** @type {any} */ each) => html`<${Element} element=${each} on=${on} />`)
      }</div>`;
    case "header":
      return html`<h2 class="headline">${words(block.text)}</h2>`;
    case "divider":
      return html`<hr class="divider" />`;
    case "plan":
      return html`<${Plan} plan=${block} />`;
    case "task_card":
      return html`
        <div class="plan card">
          <ol>
            <${Task} task=${block} />
          </ol>
        </div>
      `;
    case "rich_text":
      return html`<${RichText} block=${block} />`;
    case "image":
      return html`<${Picture} block=${block} />`;
    default:
      return html`<${Unknown} kind=${block.type} />`;
  }
}

/** @param {{block: any, on: Doing}} props */
function Section({ block, on }) {
  return html`<div class="section">
    <div class="section-words">
      ${block.text && words(block.text)}
      ${
    block.fields && html`<div class="fields">${
      block.fields.map((/** @type {any} */ field) => html`<div>${words(field)}</div>`)
    }</div>`
  }
    </div>
    ${
    block.accessory && html`
      <div class="accessory">
        <${Element} element=${block.accessory} on=${on} />
      </div>
    `
  }
  </div>`;
}

/** @param {{block: any}} props */
function Picture({ block }) {
  const address = block.image_url ? webAddress(block.image_url) : "";
  const name = block.title?.text || block.alt_text || "Image";
  // A picture of another host is not loaded: it would tell that host who reads here.
  return address.startsWith(location.origin)
    ? html`<figure><img class="picture" src=${address} alt=${
      block.alt_text || ""
    } /><figcaption class="dim small">${name}</figcaption></figure>`
    : html`<p>${address ? html`<${Link} address=${address}>${name}<//>` : name}</p>`;
}

/** @type {Record<string, [string, string]>} */
const STATES = {
  pending: ["", "to do"],
  in_progress: ["", "at work"],
  complete: ["✓", "done"],
  error: ["!", "failed"],
};

/** @param {{plan: any}} props */
function Plan({ plan }) {
  const done = plan.tasks.filter((/** @type {any} */ task) => task.status === "complete").length;
  return html`
    <details class="plan card" open>
      <summary>
          <span>${plain(plan.title)}</span>
          ${plan.tasks.length > 1 && html`<span class="dim small">${done} of ${plan.tasks.length}</span>`}
        </summary>
      <ol>${plan.tasks.map((/** @type {any} */ task) => html`<${Task} key=${task.task_id} task=${task} />`)}</ol>
    </details>
  `;
}

/** @param {{task: any}} props */
function Task({ task }) {
  const [sign, state] = STATES[task.status] || ["?", task.status];
  return html`
    <li class=${`task ${task.status}`}>
      <span class="sign" aria-hidden="true">${sign}</span>
      <div>
          <span>${plain(task.title)}</span><span class="hidden">${`, ${state}`}</span>
          ${task.details && html`<${RichText} block=${task.details} />`}
          ${task.output && html`<${RichText} block=${task.output} />`}
          ${(task.sources || []).map((/** @type {any} */ source) =>
            html`
              <${Link} address=${webAddress(source.url) || "#"}>${source.text || source.url}<//>
            `
          )}
        </div>
    </li>
  `;
}

/** @param {{block: any}} props */
export function RichText({ block }) {
  return html`<div class="rich" dir="auto">${block.elements.map(richPart)}</div>`;
}

/** @param {any} part @returns {import("../html.js").Children} */
function richPart(part) {
  switch (part.type) {
    case "rich_text_section":
      return html`<p>${part.elements.map(leaf)}</p>`;
    case "rich_text_quote":
      return html`<blockquote>${part.elements.map(leaf)}</blockquote>`;
    case "rich_text_preformatted":
      return html`
        <div class="scroller" tabindex="0" role="group" aria-label="Code">
          <pre>${part.elements.map(leaf)}</pre>
        </div>
      `;
    case "rich_text_list": {
      const items = part.elements.map((/** @type {any} */ item) => html`<li>${item.elements.map(leaf)}</li>`);
      const kind = `indent-${Math.min(part.indent || 0, 5)}`;
      return part.style === "ordered" ? html`<ol class=${kind}>${items}</ol>` : html`<ul class=${kind}>${items}</ul>`;
    }
    default:
      return html`<${Unknown} kind=${part.type} />`;
  }
}

/** @param {any} each @returns {import("../html.js").Children} */
function leaf(each) {
  /** @type {import("../html.js").Children} */
  let made;
  if (each.type === "text") made = each.text;
  else if (each.type === "link") {
    made = html`<${Link} address=${webAddress(each.url) || "#"}>${each.text || each.url}<//>`;
  } else if (each.type === "user") made = html`<${Mention} id=${each.user_id} />`;
  else if (each.type === "channel") made = html`<${ChannelLink} id=${each.channel_id} />`;
  else if (each.type === "emoji") made = html`<${Emoji} name=${each.name} />`;
  else made = html`<${Unknown} kind=${each.type} />`;
  if (each.style?.code) made = html`<code>${made}</code>`;
  if (each.style?.bold) made = html`<strong>${made}</strong>`;
  if (each.style?.italic) made = html`<em>${made}</em>`;
  if (each.style?.strike) made = html`<del>${made}</del>`;
  return made;
}
