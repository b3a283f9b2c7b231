// Pull requests: all of a repository, and one with its words, commits, changes, comments, and what can be done with it.
import { useEffect, useRef, useState } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { Markdown } from "../markdown.js";
import { Refusal } from "../page.js";
import { counted, number } from "../text.js";
import { Changes, Lines } from "./changes.js";
import { asked } from "./door.js";
import { Branch, Commits, Empty, Frame, Hash, State, When } from "./parts.js";

const LOOK_AGAIN_MS = 10_000;

/** @param {{document: any}} props */
export function PullList({ document: { repository, pulls, more } }) {
  const [all, setAll] = useState(false);
  const open = pulls.filter((/** @type {import("./parts.js").Pull} */ each) => each.state === "open");
  const shown = all || !open.length ? pulls : open;
  return html`<${Frame} owner=${repository.owner} repository=${repository} tab="pulls">
    <div class="bar">
      <h1 class="grow">Pull requests</h1>
      ${
    open.length > 0 && html`<div class="choice" role="group" aria-label="Which">
        <button class="button" aria-pressed=${!all} onClick=${() => setAll(false)}>Open</button>
        <button class="button" aria-pressed=${all} onClick=${() => setAll(true)}>All</button></div>`
  }
    </div>
    ${
    shown.length
      ? html`<ul class="rows card">${
        shown.map((/** @type {import("./parts.js").Pull} */ each) =>
          html`
            <li key=${each.number}>
              <div class="grow">
                <a class="strong" href=${`/${repository.full_name}/pull/${each.number}`} dir="auto">${each.title}</a>
                <div
                  class="small dim">#${each.number} by ${each.author}, <${When} at=${each.created_at} /> · <bdi>${each
                    .head}</bdi> → <bdi>${each.base}</bdi>${each.comments > 0 &&
                    ` · ${counted(each.comments, "comment")}`}</div>
              </div>
              <${State} state=${each.state} />
            </li>
          `
        )
      }</ul>`
      : html`
        <${Empty} title="No pull requests yet">
          <p class="dim">PeerBot opens one when its work changes files.</p>
          <//>
      `
  }
    ${more > 0 && html`<p class="dim small">${number(more)} older ones are not listed.</p>`}
  <//>`;
}

/**
 * A pull request. While it is open, and looked at, it follows what happens in git.
 * @param {{document: any}} props
 */
export function PullPage({ document: first }) {
  const [found, setFound] = useState(first);
  const { repository, pull, commits } = found;
  const at = `/${repository.full_name}/pull/${pull.number}`;
  const tab = location.pathname.split("/")[5] || "";
  useEffect(() => {
    if (pull.state !== "open") return;
    const look = () => {
      if (!document.hidden) asked(at).then(setFound, () => {});
    };
    const timer = setInterval(look, LOOK_AGAIN_MS);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [pull.state]);
  const tabs = [
    ["", "Conversation", at, pull.comments],
    ["commits", "Commits", `${at}/commits`, pull.commits],
    ["files", "Files", `${at}/files`, pull.changed_files],
  ];
  return html`<${Frame} owner=${repository.owner} repository=${repository} tab="pulls" wide=${tab === "files"}>
    <div class="pull-head">
      <h1 dir="auto">${pull.title} <span class="dim">#${pull.number}</span></h1>
      <p class="facts"><${State} state=${pull.state} /> ${
    pull.draft && pull.state === "open" && html`<span class="badge">draft</span>`
  } <${Story} repository=${repository} pull=${pull} /></p>
    </div>
    <nav class="tabs inside" aria-label="Pull request">${
    tabs.map(([name, words, href, count]) =>
      html`<a key=${name} href=${href} aria-current=${name === tab ? "page" : undefined}>${words} <span class="count">${
        number(Number(count))
      }</span></a>`
    )
  }<span class="grow"></span><${Lines} of=${pull} /></nav>
    ${
    tab === "files"
      ? html`<${Files} repository=${repository} at=${at} sha=${pull.head_sha} />`
      : tab === "commits"
      ? html`<${Commits} repository=${repository} commits=${commits} at=${pull.head_href} />`
      : html`<${Talk} found=${found} at=${at} changed=${setFound} />`
  }
  <//>`;
}

/** @param {{repository: any, pull: any}} props */
function Story({ repository, pull }) {
  const end = pull.merged_at || pull.closed_at;
  const base = html`<${Branch} repository=${repository} name=${pull.base} href=${pull.base_href} />`;
  const head = pull.head_there
    ? html`<${Branch} repository=${repository} name=${pull.head} href=${pull.head_href} />`
    : html`<span class="branch"><bdi>${pull.head}</bdi></span>`;
  const count = counted(pull.commits, "commit");
  if (pull.state === "open") {
    return html`<span>${pull.author} would like to bring ${count} of ${head} into ${base}</span>`;
  }
  const who = pull.ended_by || (pull.state === "merged" ? "A push" : "git");
  const did = pull.state === "merged" ? "brought" : "closed this, with";
  const into = pull.state === "merged" ? [" into ", base] : null;
  return html`<span>${who} ${did} ${count} of ${head}${into}, <${When} at=${end} /></span>`;
}

/** @param {{repository: any, at: string, sha: string}} props */
function Files({ repository, at, sha }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [refusal, setRefusal] = useState("");
  const read = () => {
    setRefusal("");
    asked(`${at}/files`).then(setFound, (error) => setRefusal(error.message));
  };
  useEffect(read, []);
  if (refusal) {
    return html`<div class="empty card" role="alert"><p>${refusal}</p>
      <button class="button" onClick=${read}>Try again</button></div>`;
  }
  if (!found) {
    return html`<p class="loading dim" role="status"><span class="spinner" aria-hidden="true"></span> Comparing …</p>`;
  }
  return html`${
    found.head_sha !== sha && html`<p class="notice" role="status">There are new commits.
      <button class="button" onClick=${read}>Show them</button></p>`
  }<${Changes} repository=${repository} changed=${found.diff} sha=${found.head_sha} />`;
}

/** @param {{found: any, at: string, changed: (found: any) => void}} props */
function Talk({ found, at, changed }) {
  const { repository, pull, comments } = found;
  const root = `${location.origin}/${repository.full_name}/blob/${pull.head_sha}/`;
  const base = { root, folder: root };
  return html`<div class="stack">
    <${Said} base=${base} author=${pull.author} when=${pull.created_at} text=${pull.body} />
    ${
    comments.map((/** @type {any} */ each) =>
      html`
        <${Said} key=${each.id} base=${base} id=${`issuecomment-${each.id}`} author=${each.author} when=${each
          .created_at}
          text=${each.body} />
      `
    )
  }
    <${Checks} checks=${found.checks || []} />
    <${Merging} repository=${repository} pull=${pull} at=${at} changed=${changed} />
    ${!repository.archived && html`<${Write} at=${at} changed=${changed} />`}
  </div>`;
}

/** @param {{id?: string, author: string, when: string, text: string, base: import("../markdown.js").Base}} props */
function Said({ id, author, when, text, base }) {
  return html`<article class="card said-by" id=${id} aria-label=${`${author} wrote`}>
    <header class="small"><bdi class="strong">${author}</bdi> <span class="dim"><${When} at=${when} /></span></header>
    ${text.trim() ? h(Markdown, { text, base, level: 2 }) : html`<p class="dim">No description.</p>`}
  </article>`;
}

const SIGNS = /** @type {Record<string, string>} */ ({ good: "✓", bad: "×", running: "◌", other: "–" });

/**
 * What CI says of the newest commit.
 * @param {{checks: {name: string, kind: "good" | "bad" | "running" | "other", words: string}[]}} props
 */
function Checks({ checks }) {
  if (!checks.length) return null;
  return html`
    <section class="card checks" aria-label="Checks">
      <h2 class="small">Checks of the newest commit</h2>
      <ul>${checks.map((check) =>
        html`<li key=${check.name}><span class=${`sign ${check.kind}`} aria-hidden="true">${SIGNS[check.kind]}</span>
        <bdi class="grow">${check.name}</bdi> <span class="small dim">${check.words}</span></li>`
      )}</ul>
    </section>
  `;
}

/**
 * Whether it can be merged, and the buttons.
 * @param {{repository: any, pull: any, at: string, changed: (found: any) => void}} props
 */
function Merging({ repository, pull, at, changed }) {
  const [busy, setBusy] = useState("");
  const [refusal, setRefusal] = useState("");
  const [squash, setSquash] = useState(false);
  const words = useRef(/** @type {HTMLElement | null} */ (null));
  /** @param {string} action @param {object} body */
  const act = async (action, body) => {
    if (busy) return;
    setBusy(action);
    setRefusal("");
    try {
      changed(await asked(`${at}/${action}`, body));
      words.current?.focus();
    } catch (error) {
      setRefusal(error instanceof Refusal ? error.message : String(error));
      if (error instanceof Refusal && error.status) asked(at).then(changed, () => {});
    } finally {
      setBusy("");
    }
  };
  /** @param {string} action @param {string} label @param {string} kind @param {object} [body] */
  const button = (action, label, kind, body = {}) =>
    html`<button class=${`button ${kind}`} aria-busy=${busy === action} onClick=${() =>
      act(action, body)}>${label}</button>`;
  return html`<section class=${`card merging ${pull.state}`} aria-label="Merging">
    <p ref=${words} tabindex="-1" role="status"><${Verdict} repository=${repository} pull=${pull} /></p>
    ${refusal && html`<p class="notice error" role="alert">${refusal}</p>`}
    ${
    pull.state === "open" && !repository.archived && html`<div class="actions">
      ${
      pull.can_merge &&
      html`${button("merge", squash ? "Squash and merge" : "Merge", "primary", { squash, seen: pull.head_sha })}
        <label class="small check"><input type="checkbox" checked=${squash}
          onChange=${(/** @type {any} */ event) => setSquash(event.currentTarget.checked)} /> as one commit</label>`
    }
      ${pull.draft && button("ready", "Ready for review", "")}
      <span class="grow"></span>
      ${button("close", "Close without merging", "danger")}
    </div>`
  }
    ${pull.can_reopen && !repository.archived && html`<div class="actions">${button("reopen", "Open again", "")}</div>`}
  </section>`;
}

/** @param {{repository: any, pull: any}} props */
function Verdict({ repository, pull }) {
  if (pull.state === "merged") {
    return html`<strong>Merged into <bdi>${pull.base}</bdi>.</strong> ${
      pull.merge_sha
        ? html`<${Hash} repository=${repository} sha=${pull.merge_sha} /> has it.`
        : "A push brought all of its commits there."
    }`;
  }
  if (pull.state === "closed") {
    return html`<strong>Closed without merging.</strong> ${!pull.head_there && "Its branch is gone."}`;
  }
  if (repository.archived) return html`<strong>This repository is archived</strong>, so nothing in it can be changed.`;
  if (pull.draft && !pull.conflicts.length) {
    return html`<strong>This is a draft.</strong> It can be merged when it is ready.`;
  }
  if (pull.can_merge) return html`<strong>No conflicts with <bdi>${pull.base}</bdi>.</strong>`;
  return html`<strong>This can't be merged as it is.</strong> ${
    pull.conflicts.length
      ? html`Both sides change the same lines of ${
        pull.conflicts.slice(0, 5).map((/** @type {string} */ name, /** @type {number} */ n) =>
          html`${n > 0 && ", "}<code><bdi>${name}</bdi></code>`
        )
      }${pull.conflicts.length > 5 && ` and ${pull.conflicts.length - 5} more`}. Ask PeerBot in the thread to bring in
        ${" "}<bdi>${pull.base}</bdi>, or merge by hand.`
      : "The two branches have no commit in common."
  }`;
}

/** @param {{at: string, changed: (found: any) => void}} props */
function Write({ at, changed }) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState("");
  const send = async () => {
    if (busy || !text.trim()) return;
    setBusy(true);
    setRefusal("");
    try {
      changed(await asked(`${at}/comments`, { body: text }));
      setText("");
    } catch (error) {
      setRefusal(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  };
  return html`<form class="card write" onSubmit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    send();
  }}>
    <label for="comment">Write a comment</label>
    <textarea id="comment" class="field" rows="4" maxlength="65536" value=${text} onKeyDown=${press}
      onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}></textarea>
    ${refusal && html`<p class="notice error" role="alert">${refusal}</p>`}
    <div class="actions"><span class="small dim grow">Markdown works here. Ctrl+Enter sends.</span>
      <button class="button" aria-busy=${busy} disabled=${!text.trim()}>Comment</button></div>
  </form>`;
}
