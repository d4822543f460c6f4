"use strict";
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = JSON.parse(one("#data").textContent);
const video = one("#video");
const [boxes, names, now, time, playhead] = ["#boxes", "#names", "#now", "#time", "#playhead"].map((s) => one(s));
const bars = all(".bout");
const lanes = one(".lanes");
const people = all(".person");
const rows = all(".row");
const colour = new Map(people.map((p, i) => [p.dataset.person, i % 6]));
const nameOf = new Map(people.map((p) => [p.dataset.person, p.dataset.name]));

// Filters
const [action, score] = [one("#action"), one("#score")];
const passes = (b) => (!action.value || b.action === action.value) && b.peak >= Number(score.value);
function filter() {
  one("output", score.parentElement).textContent = Number(score.value).toFixed(2);
  for (const bar of bars) bar.hidden = !passes(data.bouts[bar.dataset.bout]);
  for (const row of rows) row.hidden = all(".bout", row).every((bar) => bar.hidden);
  const unfiltered = data.bouts.every(passes);
  for (const person of people) person.hidden = !unfiltered && all(".row", person).every((row) => row.hidden);
  const shown = data.bouts.filter(passes).length;
  one("#count").textContent = shown === data.bouts.length ? `${shown} bouts` : `${shown} of ${data.bouts.length} bouts`;
  show();
}
action.addEventListener("change", filter);
score.addEventListener("input", filter);

// The box of a person at a second: between two keyframes it moves straight; null where none is near.
function boxAt(person, second) {
  const at = person.seconds;
  let after = at.findIndex((t) => t > second);
  if (after < 0) after = at.length;
  const before = after - 1;
  const near = 0.5 * data.step + 1e-6;
  const apart = before >= 0 && after < at.length ? at[after] - at[before] : Infinity;
  if (apart <= 1.5 * data.step) {
    const part = (second - at[before]) / apart;
    return person.boxes[before].map((x, k) => x + part * (person.boxes[after][k] - x));
  }
  if (before >= 0 && second - at[before] <= near) return person.boxes[before];
  if (after < at.length && at[after] - second <= near) return person.boxes[after];
  return null;
}

function show() {
  const second = video.currentTime;
  const current = data.bouts.filter((b) => passes(b) && b.start <= second && second < b.end);
  boxes.replaceChildren();
  names.replaceChildren();
  for (const person of data.persons) {
    const box = boxAt(person, second);
    if (!box) continue;
    const [x1, y1, x2, y2] = box;
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) rect.setAttribute(name, value);
    rect.setAttribute("class", `person${colour.get(person.person)}`);
    boxes.append(rect);
    const label = document.createElement("span");
    const actions = current.filter((b) => b.person === person.person).map((b) => b.action);
    label.textContent = [person.person, ...actions].join(" · ");
    label.className = `person${colour.get(person.person)}`;
    label.style.left = `${100 * x1}%`;
    label.style.maxWidth = `min(max(6rem, ${100 * (x2 - x1)}%), ${100 * (1 - x1)}%)`;
    label.style.top = `${100 * Math.min(y1, 0.92)}%`;
    names.append(label);
  }
  now.replaceChildren(
    ...current.map((b) => {
      const item = document.createElement("li");
      item.className = `person${colour.get(b.person)}`;
      item.textContent = `${nameOf.get(b.person)}: ${b.action} (${b.start.toFixed(1)} to ${b.end.toFixed(1)} s, peak ${b.peak.toFixed(2)})`;
      return item;
    })
  );
  bars.forEach((bar) => bar.classList.toggle("now", current.includes(data.bouts[bar.dataset.bout])));
  one("#clock").textContent = `${second.toFixed(1)} s`;
  time.value = second;
  const track = time.parentElement;
  playhead.style.left = `${track.offsetLeft + (track.clientWidth * second) / data.duration}px`;
  one("#play").textContent = video.paused ? "Play" : "Pause";
}

// Time
const seek = (second) => (video.currentTime = Math.min(Math.max(second, 0), data.duration - 0.01));
const toggle = () => (video.paused ? video.play() : video.pause());
function follow() {
  show();
  if (!video.paused) requestAnimationFrame(follow);
}
function step(direction) {
  const starts = data.bouts.filter(passes).map((b) => b.start).sort((a, b) => a - b);
  const found = direction > 0
    ? starts.find((s) => s > video.currentTime + 0.05)
    : starts.reverse().find((s) => s < video.currentTime - 0.05);
  if (found !== undefined) seek(found);
}
video.controls = false;
video.addEventListener("play", follow);
for (const change of ["pause", "seeked", "loadeddata"]) video.addEventListener(change, show);
video.addEventListener("click", toggle);
one("#play").addEventListener("click", toggle);
const mute = one("#mute"); // there is none without audio
mute?.addEventListener("click", () => {
  video.muted = !video.muted;
  mute.setAttribute("aria-pressed", video.muted);
});
time.addEventListener("input", () => seek(Number(time.value)));
lanes.addEventListener("click", (event) => {
  const bar = event.target.closest(".bout");
  if (bar) return seek(data.bouts[bar.dataset.bout].start);
  const lane = event.target.closest(".lane");
  if (lane && event.target !== time) seek((event.offsetX / lane.clientWidth) * data.duration);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
  const key = event.key;
  if (key === " " && event.target.matches("button")) return; // presses that button
  const actions = {
    " ": toggle,
    ArrowLeft: () => seek(video.currentTime - 1),
    ArrowRight: () => seek(video.currentTime + 1),
    n: () => step(1),
    p: () => step(-1),
  };
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
});
window.addEventListener("resize", show);
// #t=12 in the address is second 12.
function seekToHash() {
  const found = /^#t=([\d.]+)$/.exec(location.hash);
  if (found) seek(Number(found[1]));
}
window.addEventListener("hashchange", seekToHash);
seekToHash();
filter();
