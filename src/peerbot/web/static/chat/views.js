// The app's Home tab, and its modals: forms with Slack's inputs.
import { useEffect, useRef, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { Blocks } from "./blocks.js";
import { Menu } from "./drawer.js";
import { Unknown, words } from "./elements.js";
import { plain } from "./mrkdwn.js";
import { act, nameOf, people, say, views } from "./state.js";

/** @param {string} view @returns {(action: string) => Promise<unknown>} */
function pressing(view) {
  return (action) => act("press_in_view", { view, action }).catch(say);
}

export function Home() {
  const view = views.value.home;
  return html`
    <section class="main" aria-label="Home">
      <header class="top"><${Menu} /><h2>Home</h2><span class="dim small">What PeerBot shows you alone</span></header>
      <div class="log home-tab" tabindex="0" role="region" aria-label="The app's Home tab">
          ${view
            ? html`<${Blocks} blocks=${view.blocks} use=${pressing(view.id)} />`
            : html`<div class="empty"><span class="spinner"></span><p>Waiting for the app to fill this …</p></div>`}
        </div>
    </section>
  `;
}

export function Modals() {
  const view = views.value.modals.at(-1);
  return view ? html`<${Modal} key=${view.id} view=${view} />` : null;
}

/** @param {{view: any}} props */
function Modal({ view }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [values, setValues] = useState(/** @type {Record<string, any>} */ ({}));
  const [errors, setErrors] = useState(/** @type {Record<string, string>} */ ({}));
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (dialog.current && !dialog.current.open) dialog.current.showModal();
  }, []);
  const close = () => act("close", { view: view.id }).catch(say);
  /** @param {Event} event */
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setSaid("");
    try {
      const answer = await act("submit", { view: view.id, values });
      setErrors(answer.errors || {});
      const first = Object.keys(answer.errors || {})[0];
      if (first) requestAnimationFrame(() => document.getElementById(`field-${first}`)?.focus());
    } catch (error) {
      setSaid(error instanceof Error ? error.message : "");
    } finally {
      setBusy(false);
    }
  };
  /** @type {any[]} */
  const runs = [];
  for (const block of view.blocks) {
    const last = runs.at(-1);
    if (block.type === "input") runs.push(block);
    else if (Array.isArray(last)) last.push(block);
    else runs.push([block]);
  }
  return html`
    <dialog ref=${dialog} class="modal" aria-labelledby="modal-title" onCancel=${(
      /** @type {Event} */ event,
    ) => (event.preventDefault(), close())}>
      <form onSubmit=${submit} novalidate>
          <header><h2 id="modal-title">${words(view.title)}</h2>
            <button type="button" class="button quiet" aria-label="Close" onClick=${close}>✕</button></header>
          <div class="modal-body" tabindex="0" role="group" aria-labelledby="modal-title">
            ${runs.map((run) =>
              Array.isArray(run)
                ? html`<${Blocks} key=${run[0].block_id} blocks=${run} use=${pressing(view.id)} />`
                : html`
                  <${Input} key=${run.block_id}
                    block=${run} error=${errors[run.block_id]} value=${values[run.block_id]} change=${(
                      /** @type {any} */ value,
                    ) => setValues((old) => ({ ...old, [run.block_id]: value }))} />
                `
            )}
          </div>
          ${said && html`<p class="notice error" role="alert">${said}</p>`}
          <footer>
            <button type="button" class="button" onClick=${close}>${view.close ? words(view.close) : "Close"}</button>
            ${view.submit &&
              html`<button type="submit" class="button primary" aria-busy=${busy}>${words(view.submit)}</button>`}
          </footer>
        </form>
    </dialog>
  `;
}

/** @param {{block: any, error?: string, value: any, change: (value: any) => void}} props */
function Input({ block, error, value, change }) {
  const id = `field-${block.block_id}`;
  const hint = block.hint || error ? `${id}-hint` : undefined;
  return html`<div class="input">
    <label for=${id} id=${`${id}-label`}>${words(block.label)}${
    block.optional && html`
      <span class="dim small optional">(optional)</span>
    `
  }</label>
    <${Field} id=${id} element=${block.element} value=${value} change=${change} hint=${hint} wrong=${Boolean(error)} />
    ${
    error
      ? html`<p class="wrong" id=${hint}>${plain(error)}</p>`
      : block.hint && html`<p class="dim small" id=${hint}>${words(block.hint)}</p>`
  }
  </div>`;
}

/** @param {{id: string, element: any, value: any, change: (value: any) => void, hint?: string, wrong: boolean}} props */
function Field({ id, element, value, change, hint, wrong }) {
  /** @type {Record<string, any>} */
  const common = {
    id,
    class: "field",
    "aria-describedby": hint,
    "aria-invalid": wrong,
    placeholder: element.placeholder?.text,
  };
  /** @param {any} event */
  const typed = (event) => change(event.currentTarget.value);
  switch (element.type) {
    case "plain_text_input": {
      const now = value ?? element.initial_value ?? "";
      const most = element.max_length || 3000;
      return element.multiline
        ? html`<textarea ...${common} rows="4" dir="auto" maxlength=${most} value=${now} onInput=${typed}></textarea>`
        : html`<input ...${common} type="text" dir="auto" maxlength=${most} value=${now} onInput=${typed} />`;
    }
    case "number_input":
      return html`<input ...${common} type="text" inputmode="decimal" value=${
        value ?? element.initial_value ?? ""
      } onInput=${typed} />`;
    case "static_select": {
      const now = value ?? element.initial_option?.value ?? "";
      return html`<select ...${common} value=${now} onChange=${typed}>
        ${!now && html`<option value="" disabled hidden>${element.placeholder?.text || "Choose"}</option>`}
        ${
        element.options.map((/** @type {any} */ option) =>
          html`<option value=${option.value}>${plain(option.text.text)}</option>`
        )
      }
      </select>`;
    }
    case "checkboxes": {
      const now = value ?? (element.initial_options || []).map((/** @type {any} */ option) => option.value);
      return html`<${Several} id=${id} hint=${hint} now=${now} change=${change} options=${
        element.options.map((
          /** @type {any} */ option,
        ) => [option.value, words(option.text), option.description && words(option.description)])
      } />`;
    }
    case "multi_users_select": {
      const now = value ?? element.initial_users ?? [];
      const options = Object.values(people.value).filter((each) => each.kind !== "bot").map((
        each,
      ) => [each.id, nameOf(each.id), each.kind]);
      return html`<${Several} id=${id} hint=${hint} now=${now} change=${change} options=${options} />`;
    }
    default:
      return html`<${Unknown} kind=${element.type} />`;
  }
}

/** @param {{id: string, hint?: string, now: string[], change: (value: string[]) => void, options: any[][]}} props */
function Several({ id, hint, now, change, options }) {
  return html`<div class="choices" role="group" id=${id} tabindex="-1" aria-labelledby=${`${id}-label`} aria-describedby=${hint}>
    ${
    options.map(([value, label, more]) =>
      html`
        <label
          class="choice"><input type="checkbox" checked=${now.includes(value)} onChange=${(
            /** @type {any} */ event,
          ) => {
            const others = now.filter((each) => each !== value);
            change(event.currentTarget.checked ? [...others, value] : others);
          }} /><span>${label}${more && html`
            <span class="dim small">${more}</span>
          `}</span></label>
      `
    )
  }
  </div>`;
}
