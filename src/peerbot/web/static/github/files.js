// Folders and files at a branch, a tag or a commit.
import { useEffect, useLayoutEffect, useRef, useState } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { highlighter, Markdown, purified, wantColours } from "../markdown.js";
import { counted, number, size } from "../text.js";
import { Empty, Frame, Hash, State, Turning, When } from "./parts.js";

/** @typedef {{name: string, href: string, type: "file" | "folder" | "link" | "submodule", size: number}} Entry */
/** @typedef {Entry & {path: string, text?: string, utf8?: boolean, turns?: boolean, binary?: boolean, too_big?: boolean,
 *   picture?: string, commit?: string}} File */

const KINDS = { folder: "Folder", file: "File", link: "Symbolic link", submodule: "Submodule" };
const MARKS = { folder: "▸", file: "", link: "↪", submodule: "⊞" };

/** @param {{document: any}} props */
export function Tree({ document: found }) {
  const { repository } = found;
  if (found.empty) {
    return html`
      <${Frame} owner=${repository.owner} repository=${repository} tab="files">
        <h1 class="hidden">${repository.full_name}</h1>
        <${Description} repository=${repository} />
        <${Empty} title="This repository is empty">
          <p class="dim">What is pushed to it shows here.</p>
          <//>
          <//>
    `;
  }
  const { at, pull } = found;
  const root = !at.path.length;
  return html`<${Frame} owner=${repository.owner} repository=${repository} tab="files">
    <h1 class="hidden">${root ? repository.full_name : at.path.at(-1).name} at ${at.ref}</h1>
    ${root && html`<${Description} repository=${repository} />`}
    <div class="bar">
      <${RefPicker} found=${found} kind="tree" />
      ${!root && html`<${Path} repository=${repository} at=${at} />`}
    </div>
    ${root && html`<${Beside} found=${found} />`}
    ${
    pull && root && html`<p class="notice"><${State} state=${pull.state} /> ${" "}
      <a href=${`/${repository.full_name}/pull/${pull.number}`} dir="auto">${pull.title} #${pull.number}</a></p>`
  }
    <${Newest} found=${found} />
    ${
    found.file
      ? html`<${FileView} repository=${repository} at=${at} file=${found.file} />`
      : html`<${Folder} found=${found} />`
  }
  <//>`;
}

/** @param {{repository: import("./parts.js").Repository}} props */
function Description({ repository }) {
  return repository.description ? html`<p class="lead" dir="auto">${repository.description}</p>` : null;
}

/** Where a branch stands beside the default branch. @param {{found: any}} props */
function Beside({ found: { repository, at, beside_default: apart } }) {
  if (!apart) return null;
  const span = `${encodeURIComponent(repository.default_branch).replaceAll("%2F", "/")}...${at.ref_href}`;
  const words = [
    apart.ahead && `${counted(apart.ahead, "commit")} ahead of`,
    apart.behind && `${counted(apart.behind, "commit")} behind`,
  ].filter(Boolean).join(" and ");
  return html`<p class="small dim">${
    words
      ? html`This branch is ${words} <bdi>${repository.default_branch}</bdi>. ${
        apart.ahead > 0 && html`
          <a
            href=${`/${repository.full_name}/compare/${span}`}>Compare</a>
        `
      }`
      : html`This branch is the same as <bdi>${repository.default_branch}</bdi>.`
  }</p>`;
}

/**
 * A choice of branches and tags, which leads to the same path there.
 * @param {{found: any, kind: string}} props
 */
export function RefPicker({ found: { repository, at, branches, tags = [] }, kind }) {
  const path = at.path.at(-1)?.href;
  /** @param {Event} event */
  const go = (event) => {
    const ref = /** @type {HTMLSelectElement} */ (event.currentTarget).value;
    location.assign(`/${repository.full_name}/${kind}/${ref}${path ? `/${path}` : ""}`);
  };
  /** @param {import("./parts.js").Named[]} names */
  const options = (names) =>
    names.map((each) =>
      html`<option key=${each.href} value=${each.href} selected=${each.href === at.ref_href}>${each.name}</option>`
    );
  return html`<label class="picker"><span class="hidden">Branch</span>
    <select class="field" onChange=${go}>
      ${at.kind === "commit" && html`<option value=${at.ref_href} selected>${at.ref.slice(0, 12)}</option>`}
      <optgroup label="Branches">${options(branches)}</optgroup>
      ${tags.length > 0 && html`<optgroup label="Tags">${options(tags)}</optgroup>`}
    </select></label>`;
}

/** The way to a file, each step a link. @param {{repository: import("./parts.js").Repository, at: import("./parts.js").Place}} props */
export function Path({ repository, at }) {
  const home = `/${repository.full_name}/tree/${at.ref_href}`;
  return html`<nav class="path grow" aria-label="Path"><a href=${home}>${repository.name}</a>${
    at.path.map((step, n) =>
      html`<span key=${step.href}><span class="dim" aria-hidden="true"> / </span>${
        n === at.path.length - 1
          ? html`<bdi aria-current="page">${step.name}</bdi>`
          : html`<a href=${`${home}/${step.href}`}><bdi>${step.name}</bdi></a>`
      }</span>`
    )
  }</nav>`;
}

/** @param {{found: any}} props */
function Newest({ found: { repository, at, newest } }) {
  if (!newest) return null;
  const here = [at.ref_href, at.path.at(-1)?.href].filter(Boolean).join("/");
  return html`
    <div class="newest card small">
      <span class="grow"><bdi class="strong">${newest.author}</bdi>${" "}
          <a class="plain" href=${`/${repository.full_name}/commit/${newest.sha}`} dir="auto">${newest
            .subject}</a></span>
      <span class="dim"><${Hash} repository=${repository} sha=${newest.sha} /> · <${When} at=${newest.date} /></span>
      <a href=${`/${repository.full_name}/commits/${here}`}>History</a>
    </div>
  `;
}

/** @param {{found: any}} props */
function Folder({ found: { repository, at, entries, more, readme } }) {
  const home = `/${repository.full_name}`;
  const up = at.path.length ? `${home}/tree/${[at.ref_href, at.path.at(-2)?.href].filter(Boolean).join("/")}` : "";
  return html`<ul class="rows card files" aria-label="Files">
      ${up && html`<li><a class="grow" href=${up} aria-label="To the folder above">..</a></li>`}
      ${
    entries.map((/** @type {Entry} */ entry) =>
      html`
        <li key=${entry.href}>
          <span class="kind" aria-hidden="true">${MARKS[entry.type]}</span>
          <a class="grow" href=${`${home}/${
            entry.type === "folder" ? "tree" : "blob"
          }/${at.ref_href}/${entry.href}`}><bdi>${entry.name}</bdi>${entry.type !== "file" &&
            html`<span class="hidden"> (${KINDS[entry.type]})</span>`}</a>
          <span class="small dim">${entry.type === "file" ? size(entry.size) : ""}</span>
        </li>
      `
    )
  }
    </ul>
    ${!entries.length && html`<${Empty} title="No file here" />`}
    ${more > 0 && html`<p class="dim small">${number(more)} more are not listed.</p>`}
    ${readme && html`<${Readme} repository=${repository} at=${at} file=${readme} />`}`;
}

/** @param {{repository: any, at: any, file: File}} props */
function Readme({ repository, at, file }) {
  const root = `${location.origin}/${repository.full_name}/blob/${at.ref_href}/`;
  const base = { root, folder: root + (at.path.length ? `${at.path.at(-1).href}/` : "") };
  return html`<section class="card readme" aria-label=${file.name}>
    <h2 class="small dim">${file.name}</h2>
    ${
    file.text === undefined || file.text.length > 200_000
      ? html`<p class="dim">It is too long to show here: <a href=${root + file.href}>open it</a>.</p>`
      : /\.(md|markdown)$/i.test(file.name)
      ? h(Markdown, { text: file.text, base })
      : html`<pre class="message">${file.text}</pre>`
  }</section>`;
}

/** @param {{repository: any, at: any, file: File}} props */
function FileView({ repository, at, file }) {
  const [source, setSource] = useState(!/\.(md|markdown)$/i.test(file.name) || location.hash.startsWith("#L"));
  const root = `${location.origin}/${repository.full_name}/blob/${at.ref_href}/`;
  const base = { root, folder: root + (at.path.length > 1 ? `${at.path.at(-2).href}/` : "") };
  const markdown = file.text !== undefined && file.text.length <= 200_000 && /\.(md|markdown)$/i.test(file.name);
  const lines = file.text?.split("\n").length || 0;
  const count = file.text === undefined ? "" : counted(file.text.endsWith("\n") ? lines - 1 : lines, "line");
  return html`<section class="card file-view" aria-label=${file.path}>
    <div class="bar small">
      <span class="dim grow">${[KINDS[file.type], count, size(file.size)].filter(Boolean).join(" · ")}</span>
      ${
    markdown && html`<div class="choice" role="group" aria-label="How to show it">
        <button class="button" aria-pressed=${!source} onClick=${() => setSource(false)}>Text</button>
        <button class="button" aria-pressed=${source} onClick=${() => setSource(true)}>Source</button></div>`
  }
      ${file.text !== undefined && html`<${Copy} text=${file.text} />`}
    </div>
    ${file.turns && html`<${Turning} what="This file" />`}
    ${
    file.utf8 === false && html`<p class="notice warning small">This file is not in UTF-8. Bytes that are unknown in it
      show as �.</p>`
  }
    <${Body} file=${file} rendered=${markdown && !source} base=${base} />
  </section>`;
}

/** @param {{file: File, rendered: boolean, base: import("../markdown.js").Base}} props */
function Body({ file, rendered, base }) {
  if (file.type === "submodule") {
    return html`<p class="said">Another repository, at its commit <code>${file.commit}</code>.</p>`;
  }
  if (file.type === "link") return html`<p class="said">Leads to <code><bdi>${file.text}</bdi></code></p>`;
  if (file.too_big) return html`<p class="said">A file over 1 MB is not shown. <code>git show</code> has it.</p>`;
  if (file.picture && !rendered) {
    return html`<figure><img src=${file.picture} alt=${`The picture ${file.name}`} /></figure>${
      file.text !== undefined && html`<${Lines} text=${file.text} path=${file.path} />`
    }`;
  }
  if (file.binary) return html`<p class="said">This is no text.</p>`;
  if (!file.text) return html`<p class="said">An empty file.</p>`;
  if (rendered) return html`<div class="readme">${h(Markdown, { text: file.text, base, level: 2 })}</div>`;
  return html`<${Lines} text=${file.text} path=${file.path} />`;
}

/** @param {{text: string}} props */
function Copy({ text }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setDone(false), 2000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => navigator.clipboard.writeText(text).then(() => setDone(true), () => {});
  return html`<button class="button" onClick=${copy}><span aria-live="polite">${
    done ? "Copied" : "Copy"
  }</span></button>`;
}

/**
 * The lines of a file: one element for the numbers and one for the text, however many there are. `#L3` and `#L3-L7` in
 * the address mark lines; a press on a number does, too.
 * @param {{text: string, path: string}} props
 */
function Lines({ text, path }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [hash, setHash] = useState(location.hash);
  const whole = text.endsWith("\n") ? text.slice(0, -1) : text;
  const count = whole.split("\n").length;
  useEffect(() => {
    const moved = () => setHash(location.hash);
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const [, from, to] = /^#L(\d+)(?:-L(\d+))?$/.exec(hash) || [];
  const first = Number(from);
  const last = Math.max(first, Number(to || from));
  useLayoutEffect(() => {
    if (first) place.current?.querySelector(".marked")?.scrollIntoView({ block: "center" });
  }, [first]);
  /** @param {MouseEvent} event */
  const press = (event) => {
    const numbers = /** @type {HTMLElement} */ (event.currentTarget);
    const line = 1 + Math.floor((event.offsetY * count) / numbers.clientHeight);
    location.hash = event.shiftKey && first ? `#L${Math.min(first, line)}-L${Math.max(first, line)}` : `#L${line}`;
  };
  if (!highlighter.value) wantColours();
  const module = highlighter.value;
  const coloured = module && module.colours(whole, module.languageOf(path));
  const numbers = Array.from({ length: count }, (_, n) => n + 1).join("\n");
  return html`
    <div class="lines-view" tabindex="0" role="region" aria-label=${`Lines of ${path}`} ref=${place}>
      <pre class="numbers" aria-hidden="true" onClick=${press}>${numbers}</pre>
      <div class="code">
          ${first > 0 && first <= count && html`<div class="marked" style=${{
            insetBlockStart: `calc(${first - 1} * 1lh)`,
            blockSize: `calc(${Math.min(last, count) - first + 1} * 1lh)`,
          }}></div>`}
          ${coloured ? h("pre", { dangerouslySetInnerHTML: { __html: purified(coloured) } }) : h("pre", null, whole)}
        </div>
    </div>
  `;
}
