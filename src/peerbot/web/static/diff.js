// Diffs as git writes them. A row is one element and a hunk one block, which the browser lays out when it comes into view:
// 3,000 lines take a tenth of a second so, and half a second in a table. The signs are text, not colour alone. A block gets
// the colours of its language when it is drawn for the first time.
import { useEffect, useLayoutEffect, useRef } from "./vendor/hooks.mjs";
import { html } from "./html.js";
import { highlighter, wantColours } from "./markdown.js";
import { counted } from "./text.js";

/**
 * @typedef {object} Hunk
 * @property {string} range its first line, as it is; empty: it goes on where the one before it ends
 * @property {number} oldStart
 * @property {number} newStart
 * @property {string[]} lines with their sign
 */

/**
 * @typedef {object} FileDiff
 * @property {string} oldPath empty if the file is new
 * @property {string} newPath empty if the file was deleted
 * @property {string[]} notes "renamed", "binary", a new mode
 * @property {Hunk[]} hunks
 * @property {number} added
 * @property {number} removed
 */

/**
 * Read what `git diff` writes. What it can't read it leaves out; it never throws.
 * @param {string} text
 * @returns {FileDiff[]}
 */
export function parseDiff(text) {
  /** @type {FileDiff[]} */
  const files = [];
  /** @type {FileDiff | undefined} */
  let file;
  /** @type {Hunk | undefined} */
  let hunk;
  let oldLeft = 0;
  let newLeft = 0;
  for (const line of text.split("\n")) {
    if (hunk && (oldLeft > 0 || newLeft > 0 || line.startsWith("\\"))) {
      const sign = line[0] || " ";
      hunk.lines.push(line || " ");
      if (sign === "+") newLeft -= 1;
      else if (sign === "-") oldLeft -= 1;
      else if (sign !== "\\") [oldLeft, newLeft] = [oldLeft - 1, newLeft - 1];
      if (file && sign === "+") file.added += 1;
      if (file && sign === "-") file.removed += 1;
      continue;
    }
    if (line.startsWith("diff --git ")) {
      const paths = /^diff --git (?:"?a\/(.*?)"?) (?:"?b\/(.*?)"?)$/.exec(line);
      file = { oldPath: paths?.[1] || "", newPath: paths?.[2] || "", notes: [], hunks: [], added: 0, removed: 0 };
      files.push(file);
      hunk = undefined;
    } else if (file && line.startsWith("--- ")) {
      file.oldPath = pathOf(line);
    } else if (file && line.startsWith("+++ ")) {
      file.newPath = pathOf(line);
    } else if (line.startsWith("@@ ")) {
      const found = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
      if (!found) continue;
      if (!file) {
        file = { oldPath: "", newPath: "", notes: [], hunks: [], added: 0, removed: 0 };
        files.push(file);
      }
      hunk = { range: line, oldStart: Number(found[1]), newStart: Number(found[3]), lines: [] };
      oldLeft = Number(found[2] ?? 1);
      newLeft = Number(found[4] ?? 1);
      file.hunks.push(hunk);
    } else if (
      file && /^(new file|deleted file|old mode|new mode|rename|copy|similarity|Binary|GIT binary)/.test(line)
    ) {
      if (line.startsWith("new file")) file.oldPath = "";
      if (line.startsWith("deleted file")) file.newPath = "";
      if (!line.startsWith("similarity")) file.notes.push(line);
    }
  }
  return files;
}

/** @param {string} line */
function pathOf(line) {
  const path = line.slice(4).replace(/\t$/, "").replace(/^"(.*)"$/, "$1");
  return path === "/dev/null" ? "" : path.replace(/^[ab]\//, "");
}

/**
 * All files of a diff.
 * @param {{text: string, beside?: boolean}} props `beside`: old and new side by side
 */
export function Diff({ text, beside = false }) {
  const files = parseDiff(text);
  if (!files.length) return html`<p class="dim">Nothing was changed.</p>`;
  return html`<div class="diffs">${
    files.map((file) => html`<${DiffOfFile} key=${file.newPath || file.oldPath} file=${file} beside=${beside} />`)
  }</div>`;
}

/**
 * One file's part of a diff.
 * @param {{file: FileDiff, beside?: boolean, children?: import("./html.js").Children}} props `children`: more for its head
 */
export function DiffOfFile({ file, beside = false, children }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => {
    place.current?.replaceChildren(...file.hunks.flatMap(blocks).map(beside ? besideHunk : unifiedHunk));
  }, [file, beside]);
  const colours = highlighter.value;
  if (file.hunks.length && !colours) wantColours();
  useEffect(() => {
    const language = colours?.languageOf(file.newPath || file.oldPath);
    if (!colours || !language) return;
    const observer = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        colour(target, (lines) => colours.colouredLines(lines, language));
      }
    }, { rootMargin: "300px" });
    for (const hunk of place.current?.children || []) observer.observe(hunk);
    return () => observer.disconnect();
  }, [file, beside, colours]);
  const moved = file.oldPath && file.newPath && file.oldPath !== file.newPath;
  const name = moved ? `${file.oldPath} → ${file.newPath}` : file.newPath || file.oldPath;
  const kind = !file.oldPath ? "new" : !file.newPath ? "deleted" : moved ? "moved" : "";
  return html`<section class="diff" aria-label=${`Changes of ${name}`}>
    <header>
      <bdi>${name}</bdi>
      ${kind && html`<span class="badge">${kind}</span>`}
      <span class="added" aria-label=${`${counted(file.added, "line")} added`}>+${file.added}</span>
      <span class="removed" aria-label=${`${counted(file.removed, "line")} removed`}>−${file.removed}</span>
      ${children}
    </header>
    ${!file.hunks.length && html`<div class="diff-note">${file.notes.join(" · ") || "No lines to show."}</div>`}
    <div class="diff-body" ref=${place} tabindex="0" role="group" aria-label=${`Lines of ${name}`}></div>
  </section>`;
}

/**
 * @param {string} kind
 * @param {string} text
 * @param {Record<string, string>} [data]
 */
function row(kind, text, data = {}) {
  const element = document.createElement("div");
  element.className = kind;
  element.textContent = text;
  Object.assign(element.dataset, data);
  return element;
}

/**
 * Colour the lines of a block: first as the old file has them one after another, then as the new one has them.
 * @param {Element} hunk
 * @param {(lines: string[]) => DocumentFragment[] | null} coloured
 */
function colour(hunk, coloured) {
  const rows = [...hunk.querySelectorAll(".diff-row, .diff-cell")];
  const beside = hunk.matches(".beside");
  const before = rows.filter((row, n) => (beside ? n % 2 === 0 : !row.matches(".added")));
  const after = rows.filter((row, n) => (beside ? n % 2 === 1 : !row.matches(".removed")));
  for (const side of [before, after]) {
    const whole = side.filter((row) => !row.matches(".empty"));
    if (!whole.length) continue;
    const lines = whole.map((row) => row.textContent || " ");
    coloured(lines.map((line) => line.slice(1)))?.forEach((line, n) => whole[n].replaceChildren(lines[n][0], line));
  }
}

const MOST_IN_A_BLOCK = 500;

/**
 * The blocks of a hunk: a long one is several, so that few lines are laid out and coloured at once. It is cut where
 * nothing is changed, or in the middle of a file that is new or gone.
 * @param {Hunk} hunk
 * @returns {Hunk[]}
 */
function blocks(hunk) {
  if (hunk.lines.length <= MOST_IN_A_BLOCK) return [hunk];
  const one = new Set(hunk.lines.map((line) => line[0])).size === 1;
  const made = [{ ...hunk, lines: /** @type {string[]} */ ([]) }];
  let [before, after] = [hunk.oldStart, hunk.newStart];
  for (const line of hunk.lines) {
    if (made[made.length - 1].lines.length >= MOST_IN_A_BLOCK && (one || line[0] === " ")) {
      made.push({ range: "", oldStart: before, newStart: after, lines: [] });
    }
    made[made.length - 1].lines.push(line);
    if (line[0] !== "+" && line[0] !== "\\") before += 1;
    if (line[0] !== "-" && line[0] !== "\\") after += 1;
  }
  return made;
}

/** @param {Hunk} hunk @param {boolean} beside */
function block(hunk, beside) {
  const element = row(beside ? "diff-hunk beside" : "diff-hunk", "");
  element.style.containIntrinsicBlockSize = `auto ${(hunk.lines.length + 1) * 19}px`;
  element.append(row(hunk.range ? "diff-range" : "diff-range hidden", hunk.range));
  return element;
}

/** @param {Hunk} hunk */
function unifiedHunk(hunk) {
  const element = block(hunk, false);
  let [before, after] = [hunk.oldStart, hunk.newStart];
  for (const line of hunk.lines) {
    if (line[0] === "\\") element.append(row("diff-note", line.slice(2)));
    else if (line[0] === "+") element.append(row("diff-row added", line, { old: pad(""), new: pad(after++) }));
    else if (line[0] === "-") element.append(row("diff-row removed", line, { old: pad(before++), new: pad("") }));
    else element.append(row("diff-row", line, { old: pad(before++), new: pad(after++) }));
  }
  return element;
}

/** @param {number | string} value */
function pad(value) {
  return String(value).padStart(5);
}

/** @param {Hunk} hunk */
function besideHunk(hunk) {
  const element = block(hunk, true);
  let [before, after] = [hunk.oldStart, hunk.newStart];
  /** @type {string[]} */
  let removed = [];
  /** @type {string[]} */
  let added = [];
  const flush = () => {
    for (let n = 0; n < Math.max(removed.length, added.length); n++) {
      element.append(
        n < removed.length
          ? row("diff-cell removed", removed[n], { line: String(before++) })
          : row("diff-cell empty", ""),
        n < added.length ? row("diff-cell added", added[n], { line: String(after++) }) : row("diff-cell empty", ""),
      );
    }
    removed = [];
    added = [];
  };
  for (const line of hunk.lines) {
    if (line[0] === "-") removed.push(line);
    else if (line[0] === "+") added.push(line);
    else if (line[0] !== "\\") {
      flush();
      element.append(
        row("diff-cell", line, { line: String(before++) }),
        row("diff-cell", line, { line: String(after++) }),
      );
    }
  }
  flush();
  return element;
}
