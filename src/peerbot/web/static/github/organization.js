// An owner's repositories.
import { html } from "../html.js";
import { number } from "../text.js";
import { Empty, Frame, When } from "./parts.js";

/** @param {{document: {owner: string, repositories: import("./parts.js").Repository[], more: number}}} props */
export function Organization({ document: { owner, repositories, more } }) {
  return html`<${Frame} owner=${owner}>
    <h1><bdi>${owner}</bdi></h1>
    ${
    repositories.length
      ? html`<ul class="rows card">${
        repositories.map((each) => html`<${Row} key=${each.full_name} each=${each} />`)
      }</ul>`
      : html`
        <${Empty} title="No repositories yet">
          <p class="dim">PeerBot makes one when somebody mentions it and no
                  repository is chosen.</p>
          <//>
      `
  }
    ${more > 0 && html`<p class="dim small">${number(more)} more are not listed.</p>`}
  <//>`;
}

/** @param {{each: import("./parts.js").Repository}} props */
function Row({ each }) {
  return html`<li>
    <div class="grow">
      <a class="strong" href=${`/${each.full_name}`}><bdi>${each.name}</bdi></a>
      ${" "}<span class="badge">${each.private ? "private" : "public"}</span>
      ${
    each.archived && html`
      <span class="badge">archived</span>
    `
  }
      ${each.description && html`<div class="small" dir="auto">${each.description}</div>`}
      <div class="small dim">Pushed <${When} at=${each.pushed_at} /></div>
    </div>
    ${
    each.open_pulls > 0 &&
    html`<a class="small" href=${`/${each.full_name}/pulls`}>${each.open_pulls} open ${
      each.open_pulls === 1 ? "pull request" : "pull requests"
    }</a>`
  }
  </li>`;
}
