// Sends the form, then follows the job and shows each message that it sends.
const list = document.querySelector("ul");

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const sent = await fetch(event.target.action, { method: "POST", body: new FormData(event.target) });
  follow((await sent.json()).urls.status, 0);
});

async function follow(url, shown) {
  const job = await (await fetch(url)).json();
  for (const { body } of job.messages.slice(shown)) {
    list.append(Object.assign(document.createElement("li"), { textContent: body }));
  }
  if (!["succeeded", "failed", "cancelled"].includes(job.state)) {
    setTimeout(() => follow(url, job.messages.length), 200);
  }
}
