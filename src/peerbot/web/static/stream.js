// One event stream a page: it goes on where it was after a cut, a restart of the server, or a time in the background. It is
// no EventSource, since that can't send a header, and does not say with which status it was refused.
//
// A browser allows six connections to a host, and an open stream holds one: so a page has one, and closes it while it is
// hidden. The id of an event is a place in what is told; the server goes on after the last one that we name.

/**
 * @typedef {object} Listener
 * @property {(kind: string, data: any, id: string) => void} event one event, with its JSON
 * @property {(state: "open" | "waiting" | "hidden") => void} [state] whether the stream is open; waiting: it was cut
 * @property {() => void} [gone] the server says for good that there is no stream (401, 403, 404, 204): ask it why
 */

const HIDDEN_MILLISECONDS = 5_000;
const AGAIN_MILLISECONDS = [500, 1_000, 2_000, 4_000, 8_000];

/**
 * Listen to a stream of the server.
 * @param {string} address without `after=`, which is added
 * @param {string[]} kinds the kinds of events to listen to
 * @param {Listener} listener
 * @param {string} [after] the id after which to begin
 * @param {Record<string, string>} [headers]
 * @returns {() => void} ends it
 */
export function listen(address, kinds, listener, after = "", headers = {}) {
  let last = after;
  let tries = 0;
  let ended = false;
  /** Ends what is open. @type {AbortController | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {string} kind @param {string} data @param {string} id */
  const told = (kind, data, id) => {
    if (id) last = id;
    if (!kinds.includes(kind)) return;
    try {
      listener.event(kind, JSON.parse(data), last);
    } catch (error) {
      reportError(error); // not a fault of the stream
    }
  };

  const open = async () => {
    clearTimeout(timer);
    if (ended || source) return;
    const mine = source = new AbortController();
    const separator = address.includes("?") ? "&" : "?";
    let refused = false;
    try {
      const response = await fetch(last ? `${address}${separator}after=${encodeURIComponent(last)}` : address, {
        signal: mine.signal,
        cache: "no-store",
        headers: { ...headers, Accept: "text/event-stream" },
      });
      const { status } = response;
      refused = status === 204 || (status >= 400 && status < 500 && status !== 429);
      if (mine === source && status === 200 && response.body) {
        tries = 0;
        listener.state?.("open");
        await read(response.body, (kind, data, id) => mine === source && told(kind, data, id));
      }
    } catch {
      // It was cut, or nobody answers, or we have closed it.
    }
    if (mine !== source) return;
    mine.abort();
    source = null;
    listener.state?.("waiting");
    if (refused) {
      listener.gone?.();
      return;
    }
    const wait = AGAIN_MILLISECONDS[Math.min(tries, AGAIN_MILLISECONDS.length - 1)];
    tries += 1;
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
  };

  const seen = () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(() => {
        source?.abort();
        source = null;
        listener.state?.("hidden");
      }, HIDDEN_MILLISECONDS);
    } else {
      open();
    }
  };

  document.addEventListener("visibilitychange", seen);
  addEventListener("pageshow", seen);
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    source?.abort();
    source = null;
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("pageshow", seen);
  };
}

/**
 * Read events until the stream ends. Throws if it is cut.
 * @param {ReadableStream<Uint8Array>} body
 * @param {(kind: string, data: string, id: string) => void} event
 */
async function read(body, event) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    let from = Math.max(0, rest.length - 1);
    rest += decoder.decode(value, { stream: true });
    for (let end = rest.indexOf("\n\n", from); end >= 0; end = rest.indexOf("\n\n", from)) {
      /** @type {Record<string, string>} */
      const fields = {};
      for (const line of rest.slice(0, end).split("\n")) {
        const [, name, text] = /^(\w+): ?(.*)$/s.exec(line) || [];
        if (name) fields[name] = text;
      }
      rest = rest.slice(end + 2);
      from = 0;
      if (fields.data !== undefined) event(fields.event || "message", fields.data, fields.id || "");
    }
  }
}
