"use strict";
// Sorts, filters and plays clips. Without this script, the page shows everything.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
document.documentElement.classList.add("js");
const count = (n, of, what) => (n === of ? `${of} ${what}` : `${n} of ${of} ${what}`);

// The table of classes
const body = one("#ap tbody");
const rows = all("tr", body);
const visible = () => all("tr:not([hidden])", body);

function pick(row, focus) {
  for (const other of rows) {
    const button = one(".pick", other);
    button.setAttribute("aria-pressed", other === row);
    button.tabIndex = other === row ? 0 : -1;
  }
  for (const figure of all(".curve-of")) figure.hidden = figure.dataset.class !== row.dataset.class;
  if (focus) one(".pick", row).focus();
}

function sortBy(column, ascending) {
  const value = (row) => {
    const cell = row.cells[column];
    return column === 0 ? cell.textContent.trim() : cell.dataset.value;
  };
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // classes without a value stay at the bottom
    const order = column === 0 ? x.localeCompare(y) : x - y;
    return ascending ? order : -order;
  };
  body.append(...all("tr", body).sort(compare));
}

all("#ap thead th").forEach((head, column) =>
  one("button", head).addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const ascending = now === "none" ? column === 0 : now === "descending";
    for (const other of all("#ap thead th")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    sortBy(column, ascending);
  })
);

body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) pick(row, true);
});

body.addEventListener("keydown", (event) => {
  const shown = visible();
  const at = shown.indexOf(event.target.closest("tr"));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (shown[to]) pick(shown[to], true);
});

const filter = one("#filter");
function filterClasses() {
  const text = filter.value.trim().toLowerCase();
  for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
  one("#filtered").textContent = count(visible().length, rows.length, "classes");
  const first = visible()[0];
  if (first && one("tr:has([aria-pressed=true])[hidden]", body)) pick(first, false);
}
filter.addEventListener("input", filterClasses);
filter.addEventListener("keydown", (event) => {
  if (event.key === "Escape") filter.value = "";
  if (event.key === "ArrowDown" && visible()[0]) pick(visible()[0], true);
  filterClasses();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], select")) return;
  event.preventDefault();
  filter.focus();
  filter.select();
});

// One run at a time
for (const choice of all("[data-shows]")) {
  const show = () => {
    const value = one("input:checked", choice).value;
    for (const part of all(`[data-shown-by="${choice.dataset.shows}"]`)) part.hidden = part.dataset.value !== value;
  };
  choice.addEventListener("change", show);
  show();
}

// Precision and recall at a chosen score
const chosen = one("#chosen");
const score = one("input", chosen);
function showThreshold() {
  const at = Number(score.value);
  one("output", chosen).textContent = (at / score.max).toFixed(2);
  for (const row of all("#thresholds tbody tr")) {
    const [kept, found] = ["kept", "found"].map((name) => JSON.parse(row.dataset[name])[at]);
    const texts = [kept, kept ? (found / kept).toFixed(2) : "–", (found / row.dataset.num).toFixed(2)];
    all(".at", row).forEach((cell, i) => (cell.textContent = texts[i]));
  }
}
chosen.hidden = false;
score.addEventListener("input", showThreshold);
showThreshold();

// Examples
const articles = all(".gallery article");
const ofClass = one("#of-class");
function filterExamples() {
  const outcome = one("#outcome input:checked").value;
  for (const article of articles) {
    const { outcome: its, class: index } = article.dataset;
    article.hidden = (outcome !== "all" && outcome !== its) || (ofClass.value && ofClass.value !== index);
    if (article.hidden) one("video", article)?.pause();
  }
  const shown = articles.filter((article) => !article.hidden).length;
  one("#shown").textContent = count(shown, articles.length, "examples");
}
if (articles.length) {
  one("#outcome").addEventListener("change", filterExamples);
  ofClass.addEventListener("change", filterExamples);
  one("#to-examples").addEventListener("click", () => {
    ofClass.value = one("tr:has([aria-pressed=true])", body).dataset.class;
    filterExamples();
  });
  filterExamples();
}

for (const article of articles) {
  const video = one("video", article);
  if (!video) continue;
  const [screen, button, time] = [video.parentElement, one(".play", article), one("input", article)];
  const keyframe = Number(time.value);
  video.controls = false;
  button.hidden = time.hidden = false;
  const show = () => {
    time.value = video.currentTime;
    // The boxes belong to the keyframe only, so they fade elsewhere.
    screen.classList.toggle("away", Math.abs(video.currentTime - keyframe) > 0.4);
    button.classList.toggle("playing", !video.paused);
    button.setAttribute("aria-label", video.paused ? "Play" : "Pause");
  };
  const follow = () => {
    show();
    if (!video.paused) requestAnimationFrame(follow);
  };
  const toggle = () => (video.paused ? video.play() : video.pause());
  button.addEventListener("click", toggle);
  video.addEventListener("click", toggle);
  time.addEventListener("input", () => {
    video.pause();
    video.currentTime = time.value;
  });
  video.addEventListener("play", () => {
    for (const other of all("video")) if (other !== video) other.pause();
    follow();
  });
  for (const change of ["pause", "seeked"]) video.addEventListener(change, show);
}

filterClasses();
pick(one(`tr[data-class="${one("#ap").dataset.first}"]`, body), false);
