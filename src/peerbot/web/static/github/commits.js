// The commits of a branch or a file, and one commit.
import { html } from "../html.js";
import { day } from "../time.js";
import { counted } from "../text.js";
import { Changes } from "./changes.js";
import { Path, RefPicker } from "./files.js";
import { Commits, Frame, Hash, When } from "./parts.js";

/** @param {{document: any}} props */
export function CommitsPage({ document: found }) {
  const { repository, at, commits, page, older } = found;
  const here = [at.ref_href, at.path.at(-1)?.href].filter(Boolean).join("/");
  /** @param {number} n */
  const address = (n) => `/${repository.full_name}/commits/${here}${n > 1 ? `?page=${n}` : ""}`;
  /** @type {Map<string, import("./parts.js").Commit[]>} */
  const days = new Map();
  for (const commit of commits) {
    const name = day(Date.parse(commit.committed));
    days.set(name, [...(days.get(name) || []), commit]);
  }
  return html`<${Frame} owner=${repository.owner} repository=${repository} tab="commits">
    <h1 class="hidden">Commits of ${at.ref}</h1>
    <div class="bar"><${RefPicker} found=${found} kind="commits" />${
    at.path.length > 0 && html`<${Path} repository=${repository} at=${at} />`
  }</div>
    ${!commits.length && html`<${Commits} repository=${repository} commits=${[]} />`}
    ${
    [...days].map(([name, some]) =>
      html`
        <section key=${name}>
          <h2 class="day">${name}</h2>
          <${Commits} repository=${repository} commits=${some} at=${at.ref_href} />
        </section>
      `
    )
  }
    <nav class="actions" aria-label="More commits">
      ${page > 1 && html`<a class="button" href=${address(page - 1)}>Newer</a>`}
      ${older && html`<a class="button" href=${address(page + 1)}>Older</a>`}
    </nav>
  <//>`;
}

/** @param {{document: any}} props */
export function CommitPage({ document: { repository, commit, diff } }) {
  return html`
    <${Frame} owner=${repository.owner} repository=${repository} tab="commits" wide>
      <div class="card head">
          <h1 dir="auto">${commit.subject}</h1>
          ${commit.body && html`<pre class="message" dir="auto">${commit.body}</pre>`}
          <p class="small dim"><bdi title=${commit.email}>${commit.author}</bdi> · <${When} at=${commit
            .date} />${commit.committer !== commit.author && html`
            · committed by <bdi>${commit.committer}</bdi>
          `}</p>
          <p class="small dim facts"><span>Commit <code>${commit.sha}</code></span>
            <span>${commit.parents.length ? `${counted(commit.parents.length, "parent")} ` : "No parent"}${commit
              .parents.map(
                (/** @type {string} */ sha) =>
                  html`
                    <${Hash} key=${sha} repository=${repository} sha=${sha} />
                  `,
              )}</span>
            <a href=${`/${repository.full_name}/tree/${commit.sha}`}>Files at this commit</a></p>
          ${commit.parents.length > 1 &&
            html`<p class="small dim">A merge: this is what it brought to its first parent.</p>`}
        </div>
      <${Changes} repository=${repository} changed=${diff} sha=${commit.sha} />
      <//>
  `;
}
