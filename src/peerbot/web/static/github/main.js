// The local GitHub's pages. One module serves all addresses: it asks for the document at its own, and draws that.
import { useEffect, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { Refusal, show } from "../page.js";
import { KeyForm, takeKey } from "../door.js";
import { asked } from "./door.js";
import { Frame } from "./parts.js";
import { Organization } from "./organization.js";
import { Tree } from "./files.js";
import { CommitPage, CommitsPage } from "./commits.js";
import { Compare } from "./compare.js";
import { PullList, PullPage } from "./pull.js";

const [owner = "", name = "", kind = ""] = location.pathname.split("/").slice(1);
const TITLES = /** @type {Record<string, string>} */ ({ pulls: "Pull requests", commits: "Commits" });

/** Everything but the frame, which needs the document. */
function Page() {
  const [document, setDocument] = useState(/** @type {any} */ (null));
  const [refusal, setRefusal] = useState(/** @type {Refusal | null} */ (null));
  const [late, setLate] = useState(false);
  const read = async () => {
    setRefusal(null);
    try {
      const found = await asked(location.pathname.replace(/(\/pull\/\d+)\/(files|commits)$/, "$1") + location.search);
      if (found.moved) location.replace(`/${found.moved}${location.pathname.slice(`/${owner}/${name}`.length)}`);
      else setDocument(found);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
    }
  };
  useEffect(() => {
    read();
    const timer = setTimeout(() => setLate(true), 300);
    return () => clearTimeout(timer);
  }, []);
  if (refusal?.status === 401) return html`<${LetIn} again=${read} />`;
  if (refusal) return html`<${Refused} refusal=${refusal} again=${read} />`;
  if (!document) return html`<${Loading} late=${late} />`;
  return html`<${View} document=${document} />`;
}

/** @param {{document: any}} props */
function View({ document: found }) {
  useEffect(() => {
    document.title = [titleOf(found), name ? `${owner}/${name}` : owner].filter(Boolean).join(" · ");
  }, [found]);
  if (!name) return html`<${Organization} document=${found} />`;
  if (found.pull && ["pull", "issues"].includes(kind)) return html`<${PullPage} document=${found} />`;
  if (kind === "pulls") return html`<${PullList} document=${found} />`;
  if (kind === "commits") return html`<${CommitsPage} document=${found} />`;
  if (kind === "commit") return html`<${CommitPage} document=${found} />`;
  if (kind === "compare") return html`<${Compare} document=${found} />`;
  return html`<${Tree} document=${found} />`;
}

/** @param {any} found */
function titleOf(found) {
  if (found.pull && ["pull", "issues"].includes(kind)) return `${found.pull.title} #${found.pull.number}`;
  if (found.commit) return found.commit.subject;
  if (found.base && found.head) return `${found.base.ref}…${found.head.ref}`;
  const path = found.at?.path.at(-1)?.name;
  return path ? `${path} at ${found.at.ref}` : TITLES[kind] || "";
}

/** Nothing for a moment, then words: most documents come at once. @param {{late: boolean}} props */
function Loading({ late }) {
  return html`
    <${Frame} owner=${owner}>
      <p class="loading dim" role="status">${late &&
        html`<span class="spinner" aria-hidden="true"></span> Reading the repository …`}</p>
      <//>
  `;
}

/** @param {{refusal: Refusal, again: () => void}} props */
function Refused({ refusal, again }) {
  const missing = refusal.status === 404;
  return html`
    <${Frame} owner=${owner}>
      <div class="empty card" role="alert">
        <h1>${missing ? "Nothing is here" : refusal.status ? "This did not work" : "No answer"}</h1>
        <p>${missing
          ? "There may have been something: branches are deleted after a merge, and repositories are renamed or deleted."
          : refusal.message}</p>
        <p class="actions">
            ${missing
              ? html`${name && html`<a class="button" href=${`/${owner}/${name}`}>To ${owner}/${name}</a>`}
          <a class="button" href="/">All repositories</a>`
              : html`<button class="button" onClick=${again}>Try again</button>`}
          </p>
      </div>
      <//>
  `;
}

/** A browser without the key. @param {{again: () => void}} props */
function LetIn({ again }) {
  return html`
    <${Frame} owner=${owner}>
      <div class="empty card">
        <h1>This browser has not been let in yet</h1>
        <p>Programs on this machine reach these pages, too, the agent's among them. So each browser needs a key once. A link
          in the chat page brings it, and so does the address that <code>peerbot local --terminal</code> prints.</p>
        <${KeyForm} again=${again} />
      </div>
      <//>
  `;
}

takeKey();
show(html`<${Page} />`);
