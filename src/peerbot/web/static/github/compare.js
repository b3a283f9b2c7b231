// What a branch has that another has not.
import { html } from "../html.js";
import { counted } from "../text.js";
import { Changes } from "./changes.js";
import { Commits, Empty, Frame, State } from "./parts.js";

/** @param {{document: any}} props */
export function Compare({ document: found }) {
  const { repository, base, head, ahead, behind, related, commits, diff, pull } = found;
  const at = `/${repository.full_name}`;
  return html`<${Frame} owner=${repository.owner} repository=${repository} tab="commits" wide>
    <h1 class="wrap">Compare <${End} repository=${repository} at=${base} /> with <${End} repository=${repository} at=${head} /></h1>
    <p class="dim">${
    ahead
      ? html`<bdi>${head.ref}</bdi> has ${counted(ahead, "commit")} that <bdi>${base.ref}</bdi> lacks${
        behind ? html`, and lacks ${counted(behind, "commit")} of it` : ""
      }.`
      : behind
      ? html`<bdi>${head.ref}</bdi> has nothing that <bdi>${base.ref}</bdi> lacks. It is ${
        counted(behind, "commit")
      } behind.
        ${" "}<a href=${`${at}/compare/${head.ref_href}...${base.ref_href}`}>Look the other way round</a>`
      : "Both are the same commit."
  }</p>
    ${!related && html`<p class="notice warning">They have no commit in common: all of the second is shown as new.</p>`}
    ${
    pull && html`<p class="notice"><${State} state=${pull.state} /> ${" "}<a href=${`${at}/pull/${pull.number}`}
      dir="auto">${pull.title} #${pull.number}</a></p>`
  }
    ${
    ahead
      ? html`
        <details class="card contents" open=${commits.length <= 10}>
                  <summary>${counted(ahead, "commit")}</summary>
                  <${Commits} repository=${repository} commits=${commits} />
                  ${ahead > commits.length && html`<p class="dim small">The newest ${commits.length} are listed.</p>`}
                </details>
        <${Changes} repository=${repository} changed=${diff} sha=${head.commit} />
      `
      : html`<${Empty} title="Nothing to show" />`
  }
  <//>`;
}

/** @param {{repository: any, at: import("./parts.js").Place}} props */
function End({ repository, at }) {
  return html`<a class="branch" href=${`/${repository.full_name}/tree/${at.ref_href}`}><bdi>${
    at.kind === "commit" ? at.ref.slice(0, 12) : at.ref
  }</bdi></a>`;
}
