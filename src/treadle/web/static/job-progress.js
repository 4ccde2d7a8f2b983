// <job-progress src="…/jobs/TOKEN">: follows a job, or several on one page, and shows how far each is.
//
// Attributes: src (the link to the job's status), label, messages (how many of the last to show; 5), lang.
// From a script: element.follow(urls), with the `urls` of the answer that sent the job.
// Events, which bubble: job:state, job:progress, job:message, job:result, job:error, job:end; each has `detail`.
// Look: CSS variables --job-accent, --job-bad, --job-track; ::part(label|state|percent|bar|cells|messages|result|cancel).
//
// It uses server-sent events, and where these do not come through it asks for the status as often as Retry-After says.
// While its page is hidden it asks for nothing. It has no inline style or script, and needs no library.

const WORDS = {
  en: {
    blocked: "Waiting for other jobs", scheduled: "Waiting for its time", ready: "Waiting for a free worker",
    running: "Running", succeeded: "Done", failed: "The job failed.", cancelled: "Cancelled",
    cancel: "Cancel", cancelling: "Cancelling …", download: "Download the result", of: (done, total) => `${done} of ${total}`,
    faster: (times) => `Speed-up ${times} (parts at once, on average)`, progress: "Progress", lost: "No connection; trying again …",
    gone: "There is no such job, or the link to it has expired.",
  },
  zh: {
    blocked: "正在等待其他任务", scheduled: "尚未到预定时间", ready: "正在等待空闲的工作进程",
    running: "正在运行", succeeded: "已完成", failed: "任务失败。", cancelled: "已取消",
    cancel: "取消", cancelling: "正在取消……", download: "下载结果", of: (done, total) => `${done} / ${total}`,
    faster: (times) => `加速比 ${times}（平均同时运行的部分数）`, progress: "进度", lost: "连接中断，正在重试……",
    gone: "没有这个任务，或者链接已过期。",
  },
};
const ENDED = ["succeeded", "failed", "cancelled"];
// What the server says in its own language where it may not say more.
const PLAIN = Object.values(WORDS).map((words) => words.failed);
const MOST_IN_A_STREAM = 20;
// Characters of the links in one address: gunicorn refuses a request line of more than 4094.
const MOST_OF_LINKS = 3000;
const TRIES = 2;
const LONGEST_PAUSE_S = 30;
// After so many answers to questions events are tried once more.
const POLLS = 20;

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
:host { display: block; font: inherit; color: inherit; --_accent: var(--job-accent, #2a8a72); --_bad: var(--job-bad, #c8372d);
        --_track: var(--job-track, color-mix(in srgb, currentColor 14%, transparent)); }
@supports (color: light-dark(#000, #fff)) {
  :host { --_accent: var(--job-accent, light-dark(#1f6f5c, #5cc2a5)); --_bad: var(--job-bad, light-dark(#b3261e, #f2867e)); }
}
:host([hidden]), [hidden] { display: none !important; }
p, ul { margin: 0; padding: 0; }
.line { display: flex; flex-wrap: wrap; gap: 0 1em; align-items: baseline; }
.label { font-weight: 600; flex-basis: 100%; }
.state { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.percent { font-variant-numeric: tabular-nums; }
progress { display: block; box-sizing: border-box; width: 100%; height: .6em; margin: .4em 0; border: 0; border-radius: .3em;
           overflow: hidden; appearance: none; background: var(--_track); color: var(--_accent); }
progress::-webkit-progress-bar { background: transparent; }
progress::-webkit-progress-value { background: var(--_accent); border-radius: .3em; transition: width .25s linear; }
progress::-moz-progress-bar { background: var(--_accent); border-radius: .3em; }
progress:indeterminate { background: linear-gradient(90deg, transparent, var(--_accent), transparent) 0 0 / 40% 100% no-repeat var(--_track);
                         animation: pass 1.4s linear infinite; }
progress:indeterminate::-moz-progress-bar { background: transparent; }
@keyframes pass { from { background-position: -60% 0; } to { background-position: 160% 0; } }
.cells { display: flex; flex-wrap: wrap; gap: 2px; margin: .4em 0; }
.cells i { width: .55em; height: .55em; border-radius: 1px; background: var(--_track); transition: background-color .25s; }
.cells .s { background: var(--_accent); }
.cells .r { background: color-mix(in srgb, var(--_accent) 50%, transparent); }
.cells .f { background: var(--_bad); }
.cells .c { background: transparent; box-shadow: inset 0 0 0 1px currentColor; opacity: .5; }
.small { font-size: .875em; opacity: .8; font-variant-numeric: tabular-nums; }
ul { list-style: none; margin-block: .4em; padding-inline-start: .7em; border-inline-start: 2px solid var(--_track); font-size: .9375em; }
li { overflow-wrap: anywhere; }
.actions { display: flex; flex-wrap: wrap; gap: .8em; align-items: center; margin-top: .5em; }
a { color: var(--_accent); }
button { font: inherit; color: inherit; padding: .25em .9em; border: 1px solid var(--_track); border-radius: .35em;
         background: transparent; cursor: pointer; }
button:hover { border-color: currentColor; }
button:disabled { opacity: .5; cursor: default; }
a:focus-visible, button:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
:host([data-state="failed"]) .state { color: var(--_bad); }
:host([data-state="failed"]) progress { --_accent: var(--_bad); }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: reduce) {
  progress::-webkit-progress-value, .cells i { transition: none; }
  progress:indeterminate { animation: none; background: var(--_track); }
}
@media (forced-colors: active) {
  progress { forced-color-adjust: none; border: 1px solid CanvasText; background: Canvas; --_accent: Highlight; }
  .cells i { forced-color-adjust: none; }
}
`);

// What follows the jobs of one base address, ".../worker": one stream for all of them.

class Stream {
  constructor(base) {
    this.base = base;
    this.elements = new Set();
    this.failures = 0;
    this.source = null;
    this.last = "";
  }

  // A long link (bound to somebody, with an end of its own) takes the room of two.
  hasRoomFor(element) {
    return this.elements.size < MOST_IN_A_STREAM && queryOf([...this.elements, element]).length <= MOST_OF_LINKS;
  }

  add(element) {
    this.elements.add(element);
    this.restart();
  }

  remove(element) {
    if (this.elements.delete(element)) this.restart();
  }

  // Several elements that come or go together restart it once.
  restart() {
    this.close();
    this.last = "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), 0);
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  open() {
    if (!this.elements.size || document.hidden || this.source) return;
    const after = this.last ? `&after=${this.last}` : "";
    const source = new EventSource(`${this.base}/events?${queryOf([...this.elements])}${after}`, { withCredentials: true });
    this.source = source;
    source.onopen = () => { this.failures = 0; };
    source.onerror = () => this.failed(source);
    for (const kind of ["state", "progress", "message", "result", "end"]) {
      source.addEventListener(kind, (event) => this.told(kind, event));
    }
  }

  told(kind, event) {
    this.last = event.lastEventId;
    const { src, ...news } = JSON.parse(event.data);
    for (const element of [...this.elements]) {
      if (element.path === src) element.tell(kind, news);
    }
  }

  // An answer that has ended is no failure: the next one opens. Two failures, and each element asks for itself.
  failed(source) {
    if (source !== this.source) return;
    this.failures += 1;
    const isClosed = source.readyState === EventSource.CLOSED;
    if (this.failures >= TRIES) {
      this.close();
      for (const element of [...this.elements]) {
        this.elements.delete(element);
        element.poll();
      }
    } else if (isClosed) {
      this.close();
      this.timer = setTimeout(() => this.open(), 1000);
    }
  }
}

const streams = new Map();

function streamFor(element) {
  const fitting = [...streams.values()].filter((stream) => stream.base === element.base && stream.hasRoomFor(element));
  const stream = fitting[0] ?? new Stream(element.base);
  if (!fitting.length) streams.set(Symbol(element.base), stream);
  return stream;
}

function queryOf(elements) {
  return elements.map((element) => `job=${encodeURIComponent(element.token)}`).join("&");
}

document.addEventListener("visibilitychange", () => {
  for (const [key, stream] of streams) {
    if (!stream.elements.size) streams.delete(key);
    else if (document.hidden) stream.close();
    else stream.open();
  }
});

// The element.

class JobProgress extends HTMLElement {
  static observedAttributes = ["src", "label", "lang"];

  #shown = { state: null, progress: {}, messages: [], urls: {}, error: null, cancelRequested: false };
  #given = {};
  #isOver = false;
  #stream = null;
  #polling = 0;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [STYLE];
  }

  connectedCallback() {
    this.#build();
    this.#follow();
  }

  disconnectedCallback() {
    this.#leave();
  }

  attributeChangedCallback(name, before, now) {
    // The links to one job are no links to another.
    if (name === "src" && now !== this.#given.status) this.#given = {};
    if (!this.isConnected || before === now || !this.bar) return;
    if (name === "src") {
      this.#leave();
      this.#isOver = false;
      this.#shown = { state: null, progress: {}, messages: [], urls: {}, error: null, cancelRequested: false };
      this.#follow();
    }
    this.#render();
  }

  // Links that its own one does not hold: to the result, to cancel.
  follow(urls) {
    this.#given = urls;
    this.setAttribute("src", urls.status);
  }

  // The address as the server names it, and what it is made of.
  get path() { return new URL(this.getAttribute("src"), document.baseURI).pathname; }
  get base() { return this.path.replace(/\/jobs\/[^/]+$/, ""); }
  get token() { return decodeURIComponent(this.path.slice(this.path.lastIndexOf("/") + 1)); }
  get state() { return this.#shown.state; }
  get words() { return this.#language.startsWith("zh") ? WORDS.zh : WORDS.en; }

  get #language() { return languageOf(this.closest("[lang]")?.lang || navigator.language); }
  get #hasEnded() { return ENDED.includes(this.#shown.state) || this.#shown.state === "gone"; }

  // What has ended is not followed again where it is moved in its page.
  #follow() {
    if (!this.getAttribute("src") || this.#isOver) return;
    if (!window.EventSource || !/\/jobs\/[^/]+$/.test(this.path)) {
      this.poll();
      return;
    }
    this.#stream = streamFor(this);
    this.#stream.add(this);
  }

  #leave() {
    this.#stream?.remove(this);
    this.#stream = null;
    this.#polling += 1;
  }

  // Where server-sent events do not come through: the status, by ETag, as often as Retry-After says.
  async poll() {
    this.#stream = null;
    const mine = (this.#polling += 1);
    let etag = "";
    let failures = 0;
    let answers = 0;
    while (mine === this.#polling && this.isConnected && !this.#hasEnded) {
      await whileHidden();
      let pause = 1;
      try {
        const headers = { Accept: "application/json", "If-None-Match": etag };
        const answer = await fetch(this.getAttribute("src"), { headers, cache: "no-store", credentials: "same-origin" });
        if (mine !== this.#polling) return;
        if (answer.status === 404) {
          this.tell("end", { state: null, error: (await answer.json()).detail });
          return;
        }
        if (!answer.ok && answer.status !== 304) throw new Error(answer.status);
        failures = 0;
        answers += 1;
        etag = answer.headers.get("ETag") ?? etag;
        pause = Number(answer.headers.get("Retry-After") ?? 1);
        if (answer.status === 200) this.#tellAll(await answer.json());
        // What stood there before the connection was lost.
        this.#render();
      } catch {
        failures += 1;
        pause = Math.min(2 ** failures, LONGEST_PAUSE_S);
        if (failures > 1) this.#say(this.words.lost);
      }
      if (!this.#hasEnded) await new Promise((resolve) => setTimeout(resolve, pause * 1000));
      // It may have been a server that was started anew.
      if (answers === POLLS && window.EventSource && mine === this.#polling && !this.#hasEnded) {
        this.#follow();
        return;
      }
    }
  }

  #tellAll({ progress, parts, messages, ...state }) {
    this.tell("state", state);
    this.tell("progress", { ...progress, parts });
    for (const message of messages) this.tell("message", message);
    if (ENDED.includes(state.state)) this.tell("end", state);
  }

  tell(kind, news) {
    if (this.#hasEnded && this.#isOver) return;
    this[`_${kind}`](news);
    this.#render();
  }

  _state({ id, state, cancel_requested, error, urls }) {
    const hasChanged = state !== this.#shown.state;
    Object.assign(this.#shown, { id, state, error, urls: { ...this.#given, ...urls }, cancelRequested: cancel_requested });
    if (hasChanged) this.#dispatch("state", { id, state });
  }

  _progress(progress) {
    this.#shown.progress = progress;
    this.#dispatch("progress", progress);
  }

  _message(message) {
    const last = this.#shown.messages.at(-1)?.number ?? 0;
    if (message.number <= last) return;
    this.#shown.messages.push(message);
    this.#dispatch("message", message);
  }

  _result({ url }) {
    this.#shown.urls.result = url;
  }

  #dispatchResult(url) {
    const json = () => fetch(url, { credentials: "same-origin" }).then((answer) => answer.json());
    this.#dispatch("result", { url, json });
  }

  _end({ state, error }) {
    this.#isOver = true;
    this.#shown.state = state ?? "gone";
    this.#shown.error = error;
    this.#stream?.remove(this);
    this.#stream = null;
    if (state === "succeeded" && this.#shown.urls.result) this.#dispatchResult(this.#shown.urls.result);
    if (state !== "succeeded") this.#dispatch("error", { state, error: error ?? this.words[state] });
    this.#dispatch("end", { state });
  }

  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(`job:${name}`, { detail, bubbles: true, composed: true }));
  }

  async #cancel() {
    this.#shown.cancelRequested = true;
    this.#render();
    try {
      const answer = await fetch(this.#shown.urls.cancel, { method: "POST", credentials: "same-origin" });
      if (!answer.ok) throw new Error(answer.status);
    } catch {
      this.#shown.cancelRequested = false;
      this.#render();
    }
  }

  // What it shows.

  #build() {
    if (this.bar) return;
    const make = (tag, name, more = {}) => Object.assign(document.createElement(tag), { className: name, part: name, ...more });
    this.labelled = make("span", "label", { hidden: true });
    this.stated = make("span", "state");
    this.percent = make("span", "percent");
    this.bar = make("progress", "bar", { max: 1 });
    this.cells = make("div", "cells", { hidden: true });
    this.cells.setAttribute("aria-hidden", "true");
    this.noted = make("p", "small", { hidden: true });
    this.list = make("ul", "messages", { hidden: true });
    this.link = make("a", "result", { hidden: true, download: "result.json" });
    this.button = make("button", "cancel", { hidden: true, type: "button" });
    this.button.addEventListener("click", () => this.#cancel());
    this.said = make("p", "said");
    this.said.setAttribute("role", "status");
    const line = make("div", "line");
    line.append(this.labelled, this.stated, this.percent);
    this.actions = make("div", "actions");
    this.actions.append(this.link, this.button);
    this.shadowRoot.append(line, this.bar, this.cells, this.noted, this.list, this.actions, this.said);
    this.#render();
  }

  #render() {
    const { state, progress, error, urls, cancelRequested } = this.#shown;
    const words = this.words;
    const number = new Intl.NumberFormat(this.#language);
    const isOpen = !this.#hasEnded;
    this.dataset.state = state ?? "";
    this.labelled.textContent = this.getAttribute("label") ?? "";
    this.labelled.hidden = !this.labelled.textContent;
    const fraction = state === "succeeded" ? 1 : progress.fraction;
    this.stated.textContent = this.#sentence(words, number);
    this.percent.textContent = typeof fraction === "number" ? `${number.format(Math.floor(fraction * 100))} %` : "";
    this.bar.hidden = ["failed", "cancelled", "gone"].includes(state) && !fraction;
    if (typeof fraction === "number") this.bar.value = fraction;
    else if (isOpen && state === "running") this.bar.removeAttribute("value");
    else this.bar.value = 0;
    this.bar.setAttribute("aria-label", this.getAttribute("label") || words.progress);
    this.#renderParts(progress.parts, words, number);
    this.#renderMessages();
    this.link.hidden = !(state === "succeeded" && urls?.result);
    if (!this.link.hidden) this.link.href = urls.result;
    this.link.textContent = words.download;
    this.button.hidden = !(isOpen && urls?.cancel);
    this.button.disabled = cancelRequested;
    this.button.textContent = cancelRequested ? words.cancelling : words.cancel;
    this.actions.hidden = this.link.hidden && this.button.hidden;
    this.#announce(state, error, fraction, words);
  }

  #sentence(words, number) {
    const { state, progress, error, cancelRequested } = this.#shown;
    if (state === "gone") return words.gone;
    if (state === "failed") return error && !PLAIN.includes(error) ? error : words.failed;
    if (cancelRequested && !this.#hasEnded) return words.cancelling;
    const isOpen = !this.#hasEnded;
    const isCounted = state === "succeeded" ? progress.total > 1 && progress.done === progress.total : progress.total;
    const counted = isCounted ? words.of(number.format(progress.done), number.format(progress.total)) : "";
    // A whole waits for its parts, which are the job itself to who looks at it.
    const isAtWork = state === "blocked" && progress.parts;
    const words_ = state ? words[isAtWork ? (progress.parts.running || progress.done ? "running" : "ready") : state] : "";
    return [words_, counted, isOpen ? progress.message : ""].filter(Boolean).join(" · ");
  }

  #renderParts(parts, words, number) {
    this.cells.hidden = !parts || parts.cells.length < 2;
    if (!parts) return;
    while (this.cells.childElementCount < parts.cells.length) this.cells.append(document.createElement("i"));
    for (const [index, cell] of [...parts.cells].entries()) {
      if (this.cells.children[index].className !== cell) this.cells.children[index].className = cell;
    }
    this.noted.hidden = !(parts.speed_up > 1.05);
    if (!this.noted.hidden) this.noted.textContent = words.faster(number.format(Math.round(parts.speed_up * 10) / 10));
  }

  #renderMessages() {
    const most = Number(this.getAttribute("messages") ?? 5);
    const shown = most > 0 ? this.#shown.messages.slice(-most) : [];
    if (this.list.dataset.last === `${shown.at(-1)?.number}`) return;
    this.list.dataset.last = `${shown.at(-1)?.number}`;
    this.list.hidden = !shown.length;
    this.list.replaceChildren(...shown.map(({ body }) => {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      return Object.assign(document.createElement("li"), { textContent: text });
    }));
  }

  // To a screen reader: each new state, and each quarter of the way; not each step.
  #announce(state, error, fraction, words) {
    const quarter = typeof fraction === "number" && !this.#hasEnded ? Math.floor(fraction * 4) * 25 : 0;
    const key = `${state} ${quarter}`;
    if (!state || key === this.said.dataset.key) return;
    this.said.dataset.key = key;
    this.said.textContent = quarter ? `${quarter} %` : (error ?? words[state] ?? "");
  }

  #say(text) {
    this.stated.textContent = text;
  }
}

// `Intl` throws at what names no language, and `en_GB`, of which no browser complains, is a common mistake.
function languageOf(name) {
  try {
    return Intl.getCanonicalLocales(name.replaceAll("_", "-"))[0].toLowerCase();
  } catch {
    return "en";
  }
}

function whileHidden() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

if (!customElements.get("job-progress")) customElements.define("job-progress", JobProgress);
