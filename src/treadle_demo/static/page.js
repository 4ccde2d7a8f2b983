// Sends the job and follows it as any page could: one POST, then GETs of the status resource, which says
// by ETag whether anything is new and by Retry-After when to look again.

const REMEMBERED = "treadle-demo-status";
const PING_EVERY_MS = 500;
const PINGS_KEPT = 20;

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let isRunning = false;

async function send() {
  byId("send").disabled = true;
  byId("tables").replaceChildren();
  const response = await fetch("/analyses", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ input: "all" }),
  });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const { urls } = await response.json();
  sessionStorage.setItem(REMEMBERED, JSON.stringify({ urls, start: Date.now() }));
  await follow(urls, Date.now());
}

async function follow(urls, start) {
  byId("send").disabled = isRunning = true;
  showPassed(start);
  const status = await untilEnded(urls.status);
  isRunning = false;
  byId("send").disabled = false;
  if (status.state === "succeeded") showResult(await (await fetch(urls.result)).json());
}

async function untilEnded(url) {
  let etag = "";
  let status = null;
  for (;;) {
    const response = await reach(url, { headers: { "If-None-Match": etag }, cache: "no-store" });
    if (response.status === 404) throw new Error("there is no such job any more");
    if (response.status === 200) {
      etag = response.headers.get("ETag") ?? "";
      status = await response.json();
      showStatus(status);
    }
    const seconds = response.headers.get("Retry-After");
    if (status && seconds === null) return status;
    await pause(1000 * Number(seconds ?? 1));
  }
}

// A web process that dies takes its connections along; the next one answers.
async function reach(url, options) {
  for (let tries = 1; ; tries++) {
    try {
      return await fetch(url, options);
    } catch (error) {
      if (tries === 10) throw error;
      await pause(500);
    }
  }
}

function showStatus({ state, progress, error }) {
  byId("bar").value = progress.fraction ?? 0;
  const done = `${number.format(progress.done)} of ${number.format(progress.total)} files`;
  byId("state").textContent = error ?? (state === "succeeded" ? `${done}, done` : done);
}

async function showPassed(start) {
  while (isRunning) {
    byId("passed").textContent = `${((Date.now() - start) / 1000).toFixed(1)} s`;
    await pause(100);
  }
}

function showResult(result) {
  const totals = ["files", "lines", "functions", "branches"].map((name) => `${number.format(result[name])} ${name}`);
  const place = (file, line) => `${file}:${line}`;
  byId("tables").replaceChildren(
    card(`${totals.join(", ")}; nested up to ${result.nesting} deep`),
    card("Longest functions", ["lines", "function", "file"],
      result.longest.map(([lines, file, line, name]) => [lines, name, place(file, line)])),
    card("Most branched functions", ["branches", "function", "file"],
      result.branched.map(([branches, file, line, name]) => [branches, name, place(file, line)])),
    card(`Word for word in more than one file: ${number.format(result.twins.functions)}`,
      ["lines", "files", "function", "one of the files"],
      result.twins.longest.map(([lines, file, line, name, files]) => [lines, files, name, place(file, line)])),
    card(`Files that do not parse: ${number.format(result.unparsed.files)}`, ["file", "reason"],
      result.unparsed.first),
  );
}

function card(title, names = [], rows = []) {
  const section = element("section", {}, element("h2", {}, title));
  if (rows.length) {
    const head = names.map((name, column) => element("th", { className: look(names, rows[0], column) }, name));
    const body = rows.map((row) => element("tr", {},
      ...row.map((cell, column) => element("td", { className: look(names, row, column) }, shown(cell)))));
    section.append(element("table", {},
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  }
  return section;
}

function look(names, row, column) {
  if (typeof row[column] === "number") return "number";
  return names[column].includes("file") ? "place" : "";
}

function shown(cell) {
  return typeof cell === "number" ? number.format(cell) : cell;
}

// Text goes in as text: names of functions and files are other people's.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function ping() {
  const times = [];
  for (;;) {
    const start = performance.now();
    await reach("/ping", { cache: "no-store" });
    times.push(performance.now() - start);
    if (times.length > PINGS_KEPT) times.shift();
    const sorted = times.toSorted((a, b) => a - b);
    byId("ping").textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
    await pause(PING_EVERY_MS);
  }
}

async function describe() {
  const { framework, input } = await (await fetch("/input")).json();
  byId("framework").textContent = `in ${framework}`;
  byId("input").textContent = input;
}

function told(promise) {
  promise.catch((error) => {
    isRunning = false;
    byId("send").disabled = false;
    byId("state").textContent = `${error.message}; send the job again.`;
    sessionStorage.removeItem(REMEMBERED);
  });
}

byId("send").addEventListener("click", () => told(send()));
const remembered = sessionStorage.getItem(REMEMBERED);
if (remembered) {
  const { urls, start } = JSON.parse(remembered);
  told(follow(urls, start));
}
told(describe());
ping();
