// Where one writes: Enter sends, Shift+Enter begins a line, @ completes names, ↑ edits one's last message, files are dropped.
import { signal } from "../vendor/signals.mjs";
import { useLayoutEffect, useRef, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { ask } from "../door.js";
import { size } from "../text.js";
import { escaped } from "./compose.js";
import { Avatar } from "./message.js";
import { act, bot, go, me, people, say, trouble } from "./state.js";

/** What was begun and not sent, by place; a page that is loaded again has it. */
/** @type {import("../vendor/signals.mjs").Signal<Record<string, string>>} */
export const drafts = signal(JSON.parse(sessionStorage.getItem("drafts") || "{}"));

/** @param {string} key @param {string} text */
export function draft(key, text) {
  drafts.value = { ...drafts.value, [key]: text };
  sessionStorage.setItem("drafts", JSON.stringify(drafts.value));
}

/**
 * @param {string} channel
 * @param {string} thread
 * @param {string} typed
 * @param {File[]} files
 */
export async function send(channel, thread, typed, files) {
  const text = typed.trim();
  if (files.length) {
    trouble.value = "";
    const form = new FormData();
    for (const [name, value] of Object.entries({ as: me.value, channel, thread_ts: thread, text: escaped(text) })) {
      form.set(name, value);
    }
    for (const file of files) form.append("file", file, file.name);
    return await ask("/page/upload", form);
  }
  const command = /^(\/[a-z]+)(?:\s+([\s\S]*))?$/i.exec(text);
  if (command?.[1] === "/me") {
    return await act("say", { channel, thread_ts: thread, text: escaped(command[2] || ""), me: true });
  }
  if (command) return await act("command", { channel, command: command[1], text: command[2] || "" });
  return await act("say", { channel, thread_ts: thread, text: escaped(text) });
}

let composers = 0;

/** @param {{channel: string, thread?: string, name: string, closed?: string}} props `closed`: why nobody writes here */
export function Composer({ channel, thread = "", name, closed = "" }) {
  const key = `${channel}/${thread}`;
  const text = drafts.value[key] || "";
  const [files, setFiles] = useState(/** @type {File[]} */ ([]));
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const [chosen, setChosen] = useState(0);
  const [place, setPlace] = useState(-1);
  const area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const caret = useRef(-1);
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  const id = useRef(`composer-${composers++}`);
  useLayoutEffect(() => {
    if (caret.current < 0) return;
    area.current?.setSelectionRange(caret.current, caret.current);
    caret.current = -1;
  });
  if (closed) return html`<p class="composer closed dim">${closed}</p>`;

  const typed = place < 0 ? null : /(?:^|\s)@([a-z0-9._-]*)$/i.exec(text.slice(0, place));
  const matches = typed
    ? Object.values(people.value).filter((each) =>
      each.id !== me.value && `${each.handle} ${each.name}`.toLowerCase().includes(typed[1].toLowerCase())
    )
      .sort((a, b) => Number(b.id === bot.value) - Number(a.id === bot.value)).slice(0, 6)
    : [];
  const now = Math.min(chosen, matches.length - 1);

  const submit = async () => {
    if (busy || (!text.trim() && !files.length)) return;
    setBusy(true);
    try {
      const sent = await send(channel, thread, text, files);
      draft(key, "");
      setFiles([]);
      setPlace(-1);
      const asks = new RegExp(`@${people.value[bot.value]?.handle}\\b`, "i").test(text);
      if (!thread && sent?.ts && asks) go(channel, sent.ts);
    } catch (error) {
      say(error);
    } finally {
      setBusy(false);
      area.current?.focus();
    }
  };
  /** @param {import("./state.js").Person} person */
  const complete = (person) => {
    const before = text.slice(0, place).replace(/@[a-z0-9._-]*$/i, `@${person.handle} `);
    draft(key, before + text.slice(place));
    setPlace(-1);
    caret.current = before.length;
    area.current?.focus();
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    if (event.isComposing) return;
    if (matches.length) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        setChosen((now + step + matches.length) % matches.length);
        return;
      }
      if (event.key === "Enter" || event.key === "Tab") {
        event.preventDefault();
        complete(matches[now]);
        return;
      }
      if (event.key === "Escape") {
        event.stopPropagation();
        setPlace(-1);
        return;
      }
    }
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !text) {
      const log = area.current?.closest(".main, .thread")?.querySelectorAll(".message .tools .edit");
      const last = log?.[log.length - 1];
      if (last instanceof HTMLElement) {
        event.preventDefault();
        last.click();
      }
    }
  };
  /** @param {FileList | undefined | null} list */
  const add = (list) => {
    if (list?.length) setFiles([...files, ...list]);
    area.current?.focus();
  };
  const bar = matches.length ? `${id.current}-names` : undefined;
  return html`
    <div class=${over ? "composer over" : "composer"}
      onDragOver=${(/** @type {DragEvent} */ event) => (event.preventDefault(), setOver(true))}
      onDragLeave=${() => setOver(false)}
      onDrop=${(
        /** @type {DragEvent} */ event,
      ) => (event.preventDefault(), setOver(false), add(event.dataTransfer?.files))}>
        ${matches.length > 0 &&
          html`<ul class="names card" role="listbox" id=${bar} aria-label="People">${
            matches.map((each, n) =>
              html`<li id=${`${id.current}-${n}`} role="option" aria-selected=${n === now} onMouseDown=${(
                /** @type {Event} */ event,
              ) => (event.preventDefault(), complete(each))}>
          <${Avatar} id=${each.id} name=${each.name} /><b>${each.handle}</b> <span class="dim">${each.name}</span></li>`
            )
          }</ul>`}
        ${files.length > 0 &&
          html`<ul class="chosen-files">${
            files.map((file) =>
              html`<li class="card"><bdi>${file.name}</bdi> <span class="dim small">${size(file.size)}</span>
          <button type="button" class="button quiet" aria-label=${`Leave out ${file.name}`} onClick=${() =>
                setFiles(files.filter((each) => each !== file))}>✕</button></li>`
            )
          }</ul>`}
        <textarea rows="1" ref=${area} dir="auto" placeholder=${name} aria-label=${name} value=${text} maxlength="40000"
          aria-autocomplete="list" aria-haspopup="listbox" aria-controls=${bar}
          aria-activedescendant=${matches.length ? `${id.current}-${now}` : undefined}
          onKeyDown=${press} onBlur=${() => setPlace(-1)}
          onPaste=${(/** @type {ClipboardEvent} */ event) =>
            event.clipboardData?.files.length && (event.preventDefault(), add(event.clipboardData.files))}
          onInput=${(/** @type {any} */ event) => {
            draft(key, event.currentTarget.value);
            setPlace(event.currentTarget.selectionStart);
            setChosen(0);
          }}></textarea>
        <div class="composer-bar">
          <button type="button" class="button quiet" aria-label="Add files" title="Add files" onClick=${() =>
            picker.current?.click()}>+</button>
          <input type="file" multiple hidden ref=${picker} aria-label="Files" onChange=${(
            /** @type {any} */ event,
          ) => (add(event.currentTarget.files), event.currentTarget.value = "")} />
          <button type="button" class="button quiet" aria-label=${`Mention ${
            people.value[bot.value]?.handle
          }`} title="Mention the bot" onClick=${() => {
            draft(key, `${text}${text && !text.endsWith(" ") ? " " : ""}@${people.value[bot.value]?.handle} `);
            area.current?.focus();
          }}>@</button>
          <span class="dim small keys"><kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> begins a line</span>
          <button type="button" class="button primary send" aria-busy=${busy} aria-label="Send" onClick=${submit}>Send</button>
        </div>
      </div>
  `;
}
