// What the pages of the local GitHub have in common: the frame, states, people, commits, messages for a person.
import { html } from "../html.js";
import { Ago } from "../time.js";

/** @typedef {{full_name: string, owner: string, name: string, description: string | null, private: boolean,
 *   archived: boolean, default_branch: string, open_pulls: number, pushed_at: string}} Repository */
/** @typedef {{name: string, href: string}} Named */
/** @typedef {{ref: string, ref_href: string, kind: string, commit: string, path: Named[]}} Place */
/** @typedef {{sha: string, parents: string[], author: string, email: string, date: string, committer: string,
 *   committed: string, subject: string, body: string}} Commit */
/** @typedef {{number: number, title: string, state: "open" | "closed" | "merged", author: string, head: string,
 *   head_href: string, base: string, base_href: string, created_at: string, updated_at: string,
 *   closed_at: string | null, merged_at: string | null, ended_by: string | null, comments: number}} Pull */

/**
 * The frame of a page.
 * @param {{owner: string, repository?: Repository, tab?: string, wide?: boolean,
 *   children?: import("../html.js").Children}} props
 */
export function Frame({ owner, repository, tab = "", wide = false, children }) {
  return html`
    <a class="skip" href="#content">Skip to the content</a>
    <header class="top">
          <nav class=${wide ? "inner wide" : "inner"} aria-label="Where you are">
            <a class="site" href="/"><${Mark} />Local GitHub</a>
            <span class="dim" aria-hidden="true">/</span>
            <a href=${`/${owner}`}><bdi>${owner}</bdi></a>
            ${repository && html`<span class="dim" aria-hidden="true">/</span>
          <a class="strong" href=${`/${repository.full_name}`}><bdi>${repository.name}</bdi></a>
          <span class="badge">${repository.private ? "private" : "public"}</span>
          ${repository.archived && html`<span class="badge">archived</span>`}`}
            <span class="here badge">on this machine</span>
          </nav>
          ${repository && html`<${Tabs} repository=${repository} tab=${tab} wide=${wide} />`}
        </header>
    <main id="content" tabindex="-1" class=${wide ? "inner wide" : "inner"}>${children}</main>
  `;
}

/** @param {{repository: Repository, tab: string, wide: boolean}} props */
function Tabs({ repository, tab, wide }) {
  const at = `/${repository.full_name}`;
  const open = repository.open_pulls;
  const tabs = [
    ["files", "Files", at],
    ["commits", "Commits", `${at}/commits`],
    ["pulls", "Pull requests", `${at}/pulls`],
  ];
  return html`<nav class=${wide ? "inner wide tabs" : "inner tabs"} aria-label="Repository">
    ${
    tabs.map(([name, words, href]) =>
      html`<a key=${name} href=${href} aria-current=${name === tab ? "page" : undefined}>${words}${
        name === "pulls" && open > 0 && html`
          <span class="count" aria-label=${`${open} open`}>${open}</span>
        `
      }</a>`
    )
  }
  </nav>`;
}

/** Our own mark: two commits that become one. */
function Mark() {
  return html`
    <svg class="mark" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
      <path d="M5 4v12M5 10c6 0 9-1 9-4" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />
      <circle cx="5" cy="4" r="2.5" fill="currentColor" />
      <circle cx="5" cy="16" r="2.5" fill="currentColor" />
      <circle cx="14" cy="5" r="2.5" fill="currentColor" />
    </svg>
  `;
}

const STATES = /** @type {const} */ ({ open: "○", merged: "✓", closed: "×" });

/** The state of a pull request: a sign, a word and a colour. @param {{state: "open" | "merged" | "closed"}} props */
export function State({ state }) {
  return html`<span class=${`state ${state}`}><span aria-hidden="true">${STATES[state]}</span> ${state}</span>`;
}

/** A time as people say it. @param {{at: string}} props */
export function When({ at }) {
  const time = Date.parse(at);
  return Number.isNaN(time) ? html`<span>${at}</span>` : html`<${Ago} at=${time} />`;
}

/** A branch's name, as a link. @param {{repository: Repository, name: string, href: string}} props */
export function Branch({ repository, name, href }) {
  return html`<a class="branch" href=${`/${repository.full_name}/tree/${href}`}><bdi>${name}</bdi></a>`;
}

/** @param {{repository: Repository, sha: string}} props */
export function Hash({ repository, sha }) {
  return html`<a class="hash" href=${`/${repository.full_name}/commit/${sha}`} aria-label=${`Commit ${
    sha.slice(0, 7)
  }`}>${sha.slice(0, 7)}</a>`;
}

/**
 * Commits, one a row.
 * @param {{repository: Repository, commits: Commit[], at?: string}} props
 */
export function Commits({ repository, commits, at = "" }) {
  if (!commits.length) return html`<${Empty} title="No commits here" />`;
  return html`<ol class="rows card">${
    commits.map((commit) =>
      html`<li key=${commit.sha}>
        <div class="grow">
          <a class="subject" href=${`/${repository.full_name}/commit/${commit.sha}`} dir="auto">${commit.subject}</a>
          <div class="small dim"><bdi>${commit.author}</bdi> · <${When} at=${commit.date} />${
        commit.parents.length > 1 && " · merge"
      }</div>
        </div>
        <${Hash} repository=${repository} sha=${commit.sha} />
        ${
        at && html`
          <a class="button quiet" href=${`/${repository.full_name}/tree/${commit.sha}`}
            aria-label=${`Files at ${commit.sha.slice(0, 7)}`}>Files</a>
        `
      }
      </li>`
    )
  }</ol>`;
}

/**
 * Nothing is here, and what that means.
 * @param {{title: string, children?: import("../html.js").Children}} props
 */
export function Empty({ title, children }) {
  return html`<div class="empty card"><h2>${title}</h2>${children}</div>`;
}

/** Characters in a text turn the direction of writing. @param {{what: string}} props */
export function Turning({ what }) {
  return html`<p class="notice warning small">${what} has invisible characters that turn the direction of writing. What
    runs may differ from what you read.</p>`;
}
