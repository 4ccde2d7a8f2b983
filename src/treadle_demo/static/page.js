// Sends the job, and has <job-progress> follow it: one POST, and no more to write.

const REMEMBERED = "treadle-demo-job";
const PING_EVERY_MS = 500;
const PINGS_KEPT = 20;
const CHINESE = {
  input: "输入是 Python 源代码：",
  about: "一次 POST 把全部输入作为一个任务发送。任务在所有核心上运行，本页面实时跟踪；期间可以关闭页面，任务会继续运行。",
  send: "发送任务",
  nothing: "尚未发送任何任务。",
  ping: "与此同时，同一服务器响应 ping 的时间（最近 20 次的中位数）：",
  again: "请重新发送任务。",
  totals: (result) => `${shown(result.files)} 个文件，${shown(result.lines)} 行，${shown(result.functions)} 个函数，` +
    `${shown(result.branches)} 个分支；最深嵌套 ${result.nesting} 层`,
  longest: "最长的函数",
  branched: "分支最多的函数",
  twins: (count) => `在多个文件中逐字相同的函数：${shown(count)}`,
  unparsed: (count) => `无法解析的文件：${shown(count)}`,
  columns: { lines: "行数", function: "函数", file: "文件", branches: "分支", files: "文件数", "one of the files": "其中一个文件", reason: "原因" },
};
const ENGLISH = {
  again: "Send the job again.",
  totals: (result) => ["files", "lines", "functions", "branches"].map((name) => `${shown(result[name])} ${name}`).join(", ") +
    `; nested up to ${result.nesting} deep`,
  longest: "Longest functions",
  branched: "Most branched functions",
  twins: (count) => `Word for word in more than one file: ${shown(count)}`,
  unparsed: (count) => `Files that do not parse: ${shown(count)}`,
  columns: {},
};

const byId = (id) => document.getElementById(id);
const isChinese = navigator.language.toLowerCase().startsWith("zh");
const words = isChinese ? CHINESE : ENGLISH;
const number = new Intl.NumberFormat(isChinese ? "zh-CN" : "en");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const job = byId("job");

let isRunning = false;

async function send() {
  byId("send").disabled = true;
  const response = await fetch("/analyses", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ input: "all" }),
  });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const { urls } = await response.json();
  sessionStorage.setItem(REMEMBERED, JSON.stringify({ urls, start: Date.now() }));
  follow(urls, Date.now());
}

function follow(urls, start) {
  byId("tables").replaceChildren();
  byId("state").textContent = "";
  byId("send").disabled = isRunning = true;
  job.hidden = false;
  job.follow(urls);
  showPassed(start);
}

job.addEventListener("job:result", async ({ detail }) => showResult(await detail.json()));
job.addEventListener("job:end", ({ detail }) => {
  isRunning = false;
  byId("send").disabled = false;
  if (detail.state === null) {
    byId("state").textContent = words.again;
    sessionStorage.removeItem(REMEMBERED);
  }
});

async function showPassed(start) {
  while (isRunning) {
    byId("passed").textContent = `${((Date.now() - start) / 1000).toFixed(1)} s`;
    await pause(100);
  }
}

function showResult(result) {
  const place = (file, line) => `${file}:${line}`;
  byId("tables").replaceChildren(
    card(words.totals(result)),
    card(words.longest, ["lines", "function", "file"],
      result.longest.map(([lines, file, line, name]) => [lines, name, place(file, line)])),
    card(words.branched, ["branches", "function", "file"],
      result.branched.map(([branches, file, line, name]) => [branches, name, place(file, line)])),
    card(words.twins(result.twins.functions), ["lines", "files", "function", "one of the files"],
      result.twins.longest.map(([lines, file, line, name, files]) => [lines, files, name, place(file, line)])),
    card(words.unparsed(result.unparsed.files), ["file", "reason"], result.unparsed.first),
  );
}

function card(title, names = [], rows = []) {
  const section = element("section", {}, element("h2", {}, title));
  if (rows.length) {
    const head = names.map((name, column) => element("th", { className: look(names, rows[0], column) }, words.columns[name] ?? name));
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
    // A web process that dies takes its connections along; the next one answers.
    await fetch("/ping", { cache: "no-store" }).catch(() => pause(500));
    times.push(performance.now() - start);
    if (times.length > PINGS_KEPT) times.shift();
    const sorted = times.toSorted((a, b) => a - b);
    byId("ping").textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
    await pause(PING_EVERY_MS);
  }
}

async function describe() {
  const { framework, input } = await (await fetch("/input")).json();
  byId("framework").textContent = isChinese ? `（${framework}）` : `in ${framework}`;
  byId("input").textContent = `${input}${isChinese ? "。" : "."}`;
}

function told(promise) {
  promise.catch((error) => {
    isRunning = false;
    byId("send").disabled = false;
    byId("state").textContent = `${error.message}. ${words.again}`;
  });
}

if (isChinese) {
  document.documentElement.lang = "zh-CN";
  for (const each of document.querySelectorAll("[data-words]")) each.textContent = words[each.dataset.words];
}
byId("send").addEventListener("click", () => told(send()));
const remembered = sessionStorage.getItem(REMEMBERED);
if (remembered) {
  const { urls, start } = JSON.parse(remembered);
  follow(urls, start);
}
told(describe());
ping();
