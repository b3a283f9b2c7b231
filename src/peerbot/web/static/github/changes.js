// What changed, file by file: a list that leads to each, and the lines in one column or two.
import { useMemo, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { counted, number } from "../text.js";
import { DiffOfFile, parseDiff } from "../diff.js";
import { Empty, Turning } from "./parts.js";

/** @typedef {{filename: string, href: string, previous_filename: string | null, status: string, additions: number,
 *   deletions: number, changes: number, binary: boolean, submodule: boolean, modes: string[] | null, patch: string, cut: boolean,
 *   turns: boolean}} File */
/** @typedef {{files: File[], changed_files: number, additions: number, deletions: number, cut: boolean}} Changed */

const KEPT = "peerbot.github.beside";

/** What a person chose last; a narrow screen has no room for two columns. */
function chosen() {
  try {
    return localStorage.getItem(KEPT) === "yes";
  } catch {
    return false;
  }
}

/**
 * @param {{repository: import("./parts.js").Repository, changed: Changed, sha: string}} props
 */
export function Changes({ repository, changed, sha }) {
  const [beside, setBeside] = useState(chosen);
  /** @param {boolean} wanted */
  const choose = (wanted) => {
    setBeside(wanted);
    try {
      localStorage.setItem(KEPT, wanted ? "yes" : "no");
    } catch {
      // It holds for this page.
    }
  };
  if (!changed.changed_files) return html`<${Empty} title="No file differs" />`;
  const left = changed.changed_files - changed.files.length;
  return html`<section class="stack" aria-label="Changes">
    <div class="bar">
      <h2 class="grow">${counted(changed.changed_files, "file")} changed <${Lines} of=${changed} /></h2>
      <div class="choice" role="group" aria-label="How to show the lines">
        <button class="button" aria-pressed=${!beside} onClick=${() => choose(false)}>Unified</button>
        <button class="button" aria-pressed=${beside} onClick=${() => choose(true)}>Side by side</button>
      </div>
    </div>
    ${
    changed.cut && html`<p class="notice small">This is too much to show as a whole: some files are cut, and say so.
      ${left > 0 && ` ${counted(left, "file")} more ${left === 1 ? "is" : "are"} not listed.`}</p>`
  }
    <details class="card contents" open=${changed.files.length <= 12}>
      <summary>List of files</summary>
      <ul>${
    changed.files.map((file, n) =>
      html`<li key=${n}><a href=${`#file-${n + 1}`}><bdi>${file.filename}</bdi></a> <${Lines} of=${file} /></li>`
    )
  }</ul>
    </details>
    ${
    changed.files.map((file, n) =>
      html`
        <${OneFile} key=${`${file.filename}${n}`} id=${`file-${n + 1}`} file=${file} beside=${beside} sha=${sha}
          repository=${repository} />
      `
    )
  }
  </section>`;
}

/** @param {{of: {additions: number, deletions: number}}} props */
export function Lines({ of }) {
  if (!of.additions && !of.deletions) return null;
  return html`<span class="lines"><span class="more">+${number(of.additions)}</span> <span class="less">−${
    number(of.deletions)
  }</span></span>`;
}

/** @param {{id: string, file: File, beside: boolean, sha: string, repository: import("./parts.js").Repository}} props */
function OneFile({ id, file, beside, sha, repository }) {
  const read = useMemo(() => {
    const hunks = parseDiff(file.patch).flatMap((each) => each.hunks);
    const [oldPath, newPath] = [file.previous_filename || file.filename, file.filename];
    return {
      oldPath: file.status === "added" ? "" : oldPath,
      newPath: file.status === "removed" ? "" : newPath,
      notes: notesOf(file),
      hunks,
      added: file.additions,
      removed: file.deletions,
    };
  }, [file]);
  return html`<div class="file" id=${id}>
    ${file.turns && html`<${Turning} what="This change" />`}
    <${DiffOfFile} file=${read} beside=${beside}>
      ${
    file.status !== "removed" && !file.submodule &&
    html`
      <a class="open" href=${`/${repository.full_name}/blob/${sha}/${file.href}`}
        aria-label=${`Whole file ${file.filename}`}>Whole file</a>
    `
  }
    <//>
    ${
    file.cut &&
    html`<p class="notice small">Cut here: this file has ${counted(file.additions + file.deletions, "changed line")}.
      <code>git diff</code> has them all.</p>`
  }
  </div>`;
}

/** @param {File} file */
function notesOf(file) {
  const notes = [];
  if (file.submodule) notes.push("A submodule");
  if (file.binary) notes.push("Binary, or larger than 1 MB");
  if (file.modes) notes.push(`Mode ${file.modes[0]} → ${file.modes[1]}`);
  if (file.status === "renamed" && !file.changes) notes.push("Moved, with the same content");
  if (!notes.length && !file.cut) notes.push("Empty");
  return notes;
}
