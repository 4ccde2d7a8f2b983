// Shows each thumbnail as soon as it is there: whenever the job tells of progress, and at its end.
const album = document.getElementById("album");

async function showNew() {
  const shown = new Set([...album.children].map((picture) => picture.getAttribute("src")));
  const there = await (await fetch(album.dataset.thumbnails)).json();
  for (const src of there.filter((each) => !shown.has(each))) {
    if (album.querySelector(`[src="${CSS.escape(src)}"]`)) continue;
    album.append(Object.assign(new Image(), { src, alt: "" }));
  }
}

document.addEventListener("job:progress", showNew);
document.addEventListener("job:end", showNew);
