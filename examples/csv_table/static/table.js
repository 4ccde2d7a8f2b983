// Fills the line of a column when its job has ended. All lines hear of their jobs by one stream.
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

document.addEventListener("job:result", async (event) => {
  const result = await event.detail.json();
  for (const cell of event.target.closest("tr").querySelectorAll("[data-of]")) {
    const value = result[cell.dataset.of];
    cell.textContent = Array.isArray(value) ? value.join(", ") : value === null ? "–" : number.format(value);
  }
});
