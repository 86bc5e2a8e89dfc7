"use strict";

/* The gallery: where its outputs come from, the list of them, filters, what is under way, choosing for a comparison. */

/* Where outputs come from: the program on this machine, or the file that an export has written. Both answer alike. */

const server = {
  days: (wanted, choices) => askJson(`api/gallery/days?${asked(wanted)}${choices ? "&choices=1" : ""}`),
  outputs: (wanted, offset, limit, signal) => askJson(`api/gallery/outputs?${asked(wanted)}&offset=${offset}&limit=${limit}`, { signal }),
  job: (job) => askJson(`api/gallery/jobs/${encodeURIComponent(job)}`),
  async waveform(output) {
    const bars = await askJson(output.waveform);
    if (!Array.isArray(bars)) throw new Refused([bars.message, bars.next_step].filter(Boolean).join(" "));
    return bars;
  },
  async text(output, bytes) {
    const answer = await fetch(output.file, { headers: { range: `bytes=0-${bytes - 1}` } });
    if (!answer.ok) throw new Refused("The text cannot be read.");
    return (await answer.text()).replace(/\ufffd$/, ""); /* the last sign may be cut */
  },
};

const exported = {
  found(wanted) {
    const words = (wanted.words || "").toLowerCase().split(/\s+/).filter(Boolean);
    return window.kubeezExport.outputs.filter((output) => {
      const text = [output.prompt, output.model, output.recipe, output.run, output.name].join("\n").toLowerCase();
      return words.every((word) => text.includes(word))
        && ["kind", "model", "recipe", "run", "mode"].every((name) => !wanted[name] || output[name] === wanted[name])
        && (!wanted.since || output.day >= wanted.since) && (!wanted.until || output.day <= wanted.until)
        && (!wanted.least || (output.price !== null && output.price >= Number(wanted.least)))
        && (!wanted.most || (output.price !== null && output.price <= Number(wanted.most)));
    });
  },
  async days(wanted) {
    const counted = (outputs, name) => [...outputs.reduce((all, each) => all.set(each[name], (all.get(each[name]) || 0) + 1), new Map())];
    const choices = ["model", "recipe", "kind", "mode"].map((name) => [name, counted(window.kubeezExport.outputs, name).filter(([value]) => value)]);
    return { days: counted(this.found(wanted), "day"), choices: Object.fromEntries(choices) };
  },
  outputs: async (wanted, offset, limit) => exported.found(wanted).slice(offset, offset + limit),
  job: async (job) => ({ ...window.kubeezExport.jobs[job], outputs: window.kubeezExport.outputs.filter((each) => each.job === job) }),
  waveform: async (output) => output.waveform,
  text: async (output, bytes) => output.text.slice(0, bytes),
};

const source = window.kubeezExport ? exported : server;
const asked = (wanted) => new URLSearchParams(Object.entries(wanted).filter(([, value]) => value !== "")).toString();

/* What is shown stands in the address, behind the #. */

const filterNames = ["words", "kind", "model", "recipe", "run", "mode", "since", "until", "least", "most"];
const kinds = { image: "Pictures", video: "Videos", audio: "Sound", text: "Texts" };
const kindSigns = {
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.2h.01",
  video: "M4 5h16v14H4zM10 9l5 3-5 3z",
  audio: "M9 18V6l10-2v12M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM19 16a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z",
  text: "M5 5h14M5 10h14M5 15h9",
};
let wanted = {};

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  wanted = Object.fromEntries(filterNames.filter((name) => said.get(name)).map((name) => [name, said.get(name)]));
  return { job: said.get("job"), number: Number(said.get("number") || 0), compare: said.get("compare") };
}

function addressOf(more = {}) {
  const said = asked({ ...wanted, ...more });
  return said ? `#${said}` : location.pathname;
}

/* The list. Only what can be seen is in the document; where everything lies follows from how many each day has. */

const page = 100;
const mostPages = 30;
const gap = 14;
const heading = 46;
const caption = 54;

const list = {
  sections: [],
  total: 0,
  columns: 1,
  side: 200,
  pages: new Map(),
  coming: new Map(),
  shown: new Map(),
  current: 0,
  focus: false,
  round: 0,
};

function layOut() {
  const width = byId("grid").clientWidth;
  const least = width < 560 ? 150 : 200;
  list.columns = Math.max(2, Math.floor((width + gap) / (least + gap)));
  list.side = (width - gap * (list.columns - 1)) / list.columns;
  const row = list.side + caption + gap;
  let top = 0;
  let first = 0;
  for (const section of list.sections) {
    Object.assign(section, { top, first });
    top += heading + Math.ceil(section.count / list.columns) * row + gap;
    first += section.count;
  }
  byId("grid").style.height = `${top}px`;
}

function placeOf(index) {
  let low = 0;
  let high = list.sections.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (list.sections[middle].first <= index) low = middle;
    else high = middle - 1;
  }
  const section = list.sections[low];
  const inside = index - section.first;
  const row = Math.floor(inside / list.columns);
  return {
    left: (inside % list.columns) * (list.side + gap),
    top: section.top + heading + row * (list.side + caption + gap),
    section,
  };
}

/* The outputs and headings between two heights. */
function between(from, to) {
  const row = list.side + caption + gap;
  const indexes = [];
  const sections = [];
  for (const section of list.sections) {
    const end = section.top + heading + Math.ceil(section.count / list.columns) * row;
    if (end < from || section.top > to) continue;
    sections.push(section);
    const first = Math.max(0, Math.floor((from - section.top - heading) / row)) * list.columns;
    const last = Math.min(section.count, (Math.floor((to - section.top - heading) / row) + 1) * list.columns);
    for (let inside = first; inside < last; inside++) indexes.push(section.first + inside);
  }
  return { indexes, sections };
}

function draw() {
  const from = Math.max(0, -byId("grid").getBoundingClientRect().top) - 500;
  const { indexes, sections } = between(from, from + innerHeight + 1000);
  const focused = indexes.includes(list.current) ? list.current : indexes[0];
  const all = [...sections.map(drawnHeading), ...indexes.map((index) => drawnTile(index, index === focused))];
  const kept = new Map(all.map((each) => [each.name, each.element]));
  for (const [name, element] of list.shown) if (kept.get(name) !== element) element.remove();
  list.shown = kept;
  /* In the document as on the screen; what is there is not moved, since moving takes the focus away. */
  let next = null;
  for (const { element } of all.sort((one, other) => other.order - one.order)) {
    if (!element.isConnected) byId("grid").insertBefore(element, next);
    next = element;
  }
  if (list.focus) focusTile();
  fetchSeen(indexes);
}

/* The focus waits for an output that is not there yet. */
function focusTile() {
  const tile = [...list.shown.values()].find((each) => each.index === list.current);
  const button = tile?.querySelector("button");
  button?.focus({ preventScroll: true });
  list.focus = !button;
}

function drawnHeading(section) {
  const name = `day ${section.day} ${section.count}`;
  const element = list.shown.get(name) || dayHeading(section);
  element.style.transform = `translateY(${section.top}px)`;
  return { name, element, order: section.first - 0.5 };
}

function drawnTile(index, reachable) {
  const output = outputAt(index);
  const name = output ? `${output.job}/${output.number}/${output.missing}/${output.price}` : `place ${index}`;
  const element = list.shown.get(name) || (output ? outputTile(output) : make("div", { className: "tile waiting" }));
  const { left, top } = placeOf(index);
  element.index = index;
  element.style.transform = `translate(${left}px, ${top}px)`;
  element.style.width = `${list.side}px`;
  element.setAttribute("aria-setsize", list.total);
  element.setAttribute("aria-posinset", index + 1);
  for (const each of element.querySelectorAll("button, input")) each.tabIndex = reachable ? 0 : -1;
  return { name, element, order: index };
}

function outputAt(index) {
  const found = list.pages.get(Math.floor(index / page));
  return found && found[index % page];
}

/* Pages are fetched once the list stands still; what was asked for and has been scrolled past is given up. */
let waiting = 0;
function fetchSeen(indexes) {
  const seen = new Set(indexes.map((index) => Math.floor(index / page)));
  for (const [number, request] of list.coming) {
    if (seen.has(number)) continue;
    request.abort();
    list.coming.delete(number);
  }
  const missing = [...seen].filter((number) => !list.pages.has(number) && !list.coming.has(number));
  clearTimeout(waiting);
  if (missing.length) waiting = setTimeout(() => missing.forEach(fetchPage), list.pages.size ? 70 : 0);
}

async function fetchPage(number) {
  if (list.coming.has(number)) return;
  const round = list.round;
  const request = new AbortController();
  list.coming.set(number, request);
  try {
    const found = await source.outputs(wanted, number * page, page, request.signal);
    if (round !== list.round) return;
    list.pages.set(number, found);
    for (const old of list.pages.keys()) if (list.pages.size > mostPages) list.pages.delete(old);
    drawSoon();
  } catch (error) {
    if (round === list.round && error.name !== "AbortError") trouble(error);
  } finally {
    if (list.coming.get(number) === request) list.coming.delete(number);
  }
}

let drawing = 0;
function drawSoon() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
}

function dayHeading(section) {
  const words = make("h2", {}, spokenDay(section.day));
  return make("div", { className: "day" }, words, make("span", { className: "small number" }, plural(section.count, "output", "outputs")));
}

const alternative = (output) => output.prompt || `${kinds[output.kind] || "Output"}: ${output.name}`;

function outputTile(output) {
  const words = `${alternative(output).slice(0, 300)}. ${output.model}${output.missing ? `, ${output.missing}` : ""}`;
  const opener = make("button", { type: "button", className: "open", "aria-label": words }, glimpse(output));
  opener.onclick = () => go({ job: output.job, number: output.number });
  const price = output.price === null ? "" : output.price.toLocaleString("en");
  const about = make("span", { className: "about", "aria-hidden": "true" },
    make("span", { className: "line" }, output.prompt || output.name),
    make("span", { className: "line small" }, output.label || output.model, make("span", { className: "price number" }, price && `${price} cr`)));
  const box = make("input", { type: "checkbox", checked: chosen.has(idOf(output)), "aria-label": `Compare: ${alternative(output).slice(0, 100)}` });
  box.onchange = () => choose(output, box);
  const marks = make("span", { className: "marks", "aria-hidden": "true" },
    output.kind === "image" ? null : make("span", { className: "tag dark" }, sign(kindSigns[output.kind] || kindSigns.text, 14)),
    output.mode === "sandbox" ? make("span", { className: "tag warm" }, "Sandbox") : null);
  const tile = make("div", { className: `tile ${output.kind}`, role: "article", "aria-label": words }, opener, marks, make("label", { className: "pick" }, box), about);
  tile.classList.toggle("picked", box.checked);
  return tile;
}

/* The small view of an output; whatever goes wrong with it is said in words, never by a broken picture. */
function glimpse(output) {
  const place = make("span", { className: "glimpse" });
  if (output.missing) {
    place.classList.add("missing");
    place.append(sign("M4 4l16 16M8 5h12v11M4 8v11h13", 26), make("span", {}, output.missing));
  } else if (output.picture) {
    const image = make("img", { alt: "", decoding: "async", draggable: false });
    image.onload = () => image.classList.add("there");
    image.onerror = () => place.replaceChildren(...unseen(output));
    /* A tile that only flies past need not be fetched. */
    setTimeout(() => { if (place.isConnected) image.src = output.picture; }, 60);
    place.append(image);
  } else if (output.waveform) {
    source.waveform(output).then((bars) => place.replaceChildren(wave(bars)), () => place.replaceChildren(...unseen(output)));
  } else {
    place.replaceChildren(...unseen(output));
    if (output.kind === "text") source.text(output, 600).then((text) => place.replaceChildren(make("span", { className: "words" }, text)), () => {});
  }
  return place;
}

const unseen = (output) => [sign(kindSigns[output.kind] || kindSigns.text, 30), make("span", {}, output.name)];

/* Bars of a sound, in the colours of the page; from its own middle, so that loud is long. */
function wave(bars) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${bars.length * 4} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "wave");
  svg.setAttribute("aria-hidden", "true");
  for (const [at, value] of bars.entries()) {
    const bar = document.createElementNS(space, "rect");
    const tall = Math.max(value, 2) * 0.9;
    for (const [name, length] of [["x", at * 4], ["y", 50 - tall / 2], ["width", 2.6], ["height", tall], ["rx", 1]]) bar.setAttribute(name, length);
    svg.append(bar);
  }
  return svg;
}

/* Going through the list with the keyboard: arrows, Home, End, page keys; space chooses for comparison. */

function focusOn(index) {
  list.current = Math.max(0, Math.min(list.total - 1, index));
  const { top } = placeOf(list.current);
  const bounds = byId("grid").getBoundingClientRect();
  const bar = document.querySelector(".bar").offsetHeight + heading;
  if (bounds.top + top < bar) scrollBy(0, bounds.top + top - bar);
  const under = bounds.top + top + list.side + caption + gap - innerHeight;
  if (under > 0) scrollBy(0, under);
  list.focus = true;
  draw();
}

function onGridKey(event) {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = Math.max(1, Math.floor(innerHeight / (list.side + caption)) - 1);
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -list.columns, ArrowDown: list.columns,
    PageUp: -list.columns * rows, PageDown: list.columns * rows, Home: -list.total, End: list.total,
  };
  if (event.key in steps) {
    event.preventDefault();
    focusOn(tile.index + steps[event.key]);
  }
  if (event.key === "c") tile.querySelector("input")?.click();
}

/* Choosing two to four for a comparison */

const mostCompared = 4;
const chosen = new Map();
const idOf = (output) => `${output.job}:${output.number}`;

function choose(output, box) {
  if (box.checked && chosen.size >= mostCompared) {
    box.checked = false;
    say("Four at most are compared; take one away first.");
    return;
  }
  if (box.checked) chosen.set(idOf(output), output);
  else chosen.delete(idOf(output));
  box.closest(".tile")?.classList.toggle("picked", box.checked);
  drawTray();
}

function drawTray() {
  const compareNow = make("button", { type: "button", className: "button first", disabled: chosen.size < 2 }, `Compare ${chosen.size}`);
  compareNow.onclick = () => go({ compare: [...chosen.keys()].join(",") });
  const none = make("button", { type: "button", className: "button bare" }, "Clear");
  none.onclick = () => {
    chosen.clear();
    drawTray();
    redraw();
  };
  const small = [...chosen.values()].map((output) => make("span", { className: "mini" }, glimpse(output)));
  const hint = chosen.size < 2 ? make("span", { className: "small" }, "Choose one more to compare.") : null;
  byId("tray").replaceChildren(...small, ...[hint].filter(Boolean), compareNow, none);
  byId("tray").hidden = chosen.size === 0;
}

function redraw() {
  for (const element of list.shown.values()) element.remove();
  list.shown.clear();
  drawSoon();
}

/* Filters */

function fillChoices(choices) {
  const first = { kind: "All kinds", model: "All models", recipe: "All recipes", mode: "Live and sandbox" };
  const words = { ...kinds, live: "Live only", sandbox: "Sandbox only" };
  for (const name of Object.keys(first)) {
    const found = choices[name] || [];
    if (wanted[name] && !found.some(([value]) => value === wanted[name])) found.push([wanted[name], 0]);
    const options = found.map(([value, count]) => make("option", { value }, `${words[value] || value} (${count.toLocaleString("en")})`));
    byId(name).replaceChildren(make("option", { value: "" }, first[name]), ...options);
    byId(name).closest("label").hidden = found.length < 2 && !wanted[name];
  }
}

/* A field in which somebody is writing right now is left alone. */
function showFilters(writing = null) {
  for (const name of filterNames) {
    const field = byId(name);
    if (field && !(field === writing && field.localName === "input") && field.value !== (wanted[name] || "")) field.value = wanted[name] || "";
  }
  byId("clear").hidden = Object.keys(wanted).length === 0;
  if (["since", "until", "least", "most"].some((name) => wanted[name])) further(true);
}

function further(open) {
  byId("further").hidden = !open;
  byId("more").setAttribute("aria-expanded", open);
}

function filter() {
  for (const name of filterNames) {
    if (!byId(name)) continue;
    if (byId(name).value.trim()) wanted[name] = byId(name).value.trim();
    else delete wanted[name];
  }
  history.replaceState(null, "", addressOf());
  lastFilter = asked(wanted);
  showFilters(document.activeElement);
  load();
}

/* Loading, at first and whenever something has changed */

async function load() {
  const round = ++list.round;
  for (const request of list.coming.values()) request.abort();
  list.coming.clear();
  byId("grid").ariaBusy = "true";
  byId("trouble").hidden = true;
  try {
    const [{ days, choices }, first] = await Promise.all([source.days(wanted, true), source.outputs(wanted, 0, page)]);
    if (round !== list.round) return;
    list.pages.clear();
    list.pages.set(0, first);
    list.sections = days.map(([day, count]) => ({ day, count }));
    list.total = days.reduce((sum, [, count]) => sum + count, 0);
    fillChoices(choices);
    showFilters(document.activeElement);
    sayCount(choices);
    layOut();
    draw();
  } catch (error) {
    if (round === list.round) trouble(error);
  }
  if (round === list.round) byId("grid").ariaBusy = "false";
}

function sayCount(choices) {
  const all = (choices.mode || []).reduce((sum, [, count]) => sum + count, 0);
  const run = wanted.run ? ` of the run ${wanted.run}` : "";
  const some = Object.keys(wanted).length > 0;
  byId("count").textContent = all ? `${some ? `${list.total.toLocaleString("en")} of ` : ""}${plural(all, "output", "outputs")}${run}` : "";
  byId("filters").hidden = all === 0;
  byId("empty").hidden = list.total > 0;
  const lead = all
    ? ["Nothing fits", "No output fits what is searched for."]
    : ["Nothing has been made yet", "Say to your assistant, for example: “Make a product photo of a red running shoe, 4:5.” It appears here while it is being made."];
  const clear = make("button", { type: "button", className: "button" }, "Show everything");
  clear.onclick = clearFilters;
  byId("empty").replaceChildren(sign(kindSigns.image, 56), make("h2", {}, lead[0]), make("p", { className: "lead" }, lead[1]), ...(all ? [clear] : []));
}

function clearFilters() {
  for (const name of filterNames) if (byId(name)) byId(name).value = "";
  wanted = {};
  further(false);
  filter();
  byId("words").focus();
}

function trouble(error) {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
}

/* What is under way */

let made = null;
let before = new Map();

function changed(now) {
  const jobs = new Map(now.jobs.map((job) => [job.job, job]));
  for (const [id, job] of before) {
    if (jobs.get(id)?.state === job.state) continue;
    if (byId("job").open && opened.job === id) openJob(id, opened.number);
    if (!jobs.has(id)) ended(job);
  }
  before = jobs;
  live(jobs.size ? `${plural(jobs.size, "job", "jobs")} under way` : "Up to date", jobs.size ? "busy" : "");
  drawRunning();
  if (made !== null && made !== now.made) load();
  made = now.made;
}

async function ended(job) {
  const sheet = await source.job(job.job).catch(() => null);
  if (sheet && sheet.error && sheet.state !== "completed") say(`A job of ${job.model} came to nothing: ${sheet.error}`);
}

function drawRunning() {
  const place = byId("running");
  place.hidden = before.size === 0;
  place.replaceChildren(...[...before.values()].map((job) => {
    const bar = make("progress", { max: 100, "aria-label": "Time passed of the time it usually takes" });
    const line = make("p", { className: "line" }, job.prompt || job.model);
    const about = make("p", { className: "small line" }, job.model, job.price === null ? "" : ` · ${credits(job.price)}`);
    const mark = job.mode === "sandbox" ? make("span", { className: "tag warm" }, "Sandbox") : null;
    const fate = job.state === "unknown" ? make("span", { className: "tag bad" }, "Fate unknown") : null;
    const card = make("button", { type: "button", className: "job", "aria-label": `Under way: ${job.prompt || job.model}` },
      line, about, fate || bar, mark);
    card.onclick = () => go({ job: job.job, number: 0 });
    card.passed = () => {
      if (job.seconds) bar.value = Math.min(96, ((Date.now() / 1000 - job.since) / job.seconds) * 100);
    };
    card.passed();
    return card;
  }));
}

setInterval(() => {
  for (const card of byId("running").children) card.passed();
}, 1000);

/* Start */

function go(more) {
  history.pushState({ inside: true }, "", addressOf(more));
  arrive();
}

/* Back to the list, wherever one came from. */
function leave() {
  if (history.state?.inside) history.back();
  else {
    history.replaceState(null, "", addressOf());
    arrive();
  }
}

let lastFilter = null;
function arrive() {
  const { job, number, compare } = readAddress();
  if (lastFilter !== null && lastFilter !== asked(wanted)) load();
  lastFilter = asked(wanted);
  showFilters();
  if (compare) openComparison(compare.split(",").slice(0, mostCompared));
  else close("compare");
  if (job) openJob(job, number);
  else {
    opened = { job: "", number: 0 }; /* its answer may still be on the way */
    close("job");
  }
}

function close(id) {
  if (!byId(id).open) return;
  const seen = list.current; /* closing gives the focus back to where it was before one went on from there */
  byId(id).close();
  byId(id).replaceChildren();
  if (list.total) focusOn(seen);
}

let typing = 0;
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(filter, 180);
});
byId("more").onclick = () => further(byId("further").hidden);
byId("clear").onclick = clearFilters;
byId("grid").addEventListener("keydown", onGridKey);
document.addEventListener("focusin", (event) => {
  list.focus = false;
  if (!byId("grid").contains(event.target)) return;
  const tile = event.target.closest(".tile");
  if (tile && tile.index !== undefined) list.current = tile.index;
});
addEventListener("scroll", drawSoon, { passive: true });
addEventListener("popstate", arrive);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select, dialog[open]")) {
    event.preventDefault();
    byId("words").focus();
  }
});
new ResizeObserver(() => {
  layOut();
  drawSoon();
}).observe(byId("main"));

arrive();
load();
if (source === server) {
  follow("api/gallery/changes", changed, (error) => {
    live("Not connected", "gone");
    trouble(error);
  });
}
