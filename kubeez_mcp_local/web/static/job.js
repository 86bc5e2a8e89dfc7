"use strict";

/* A job's page, and two to four outputs side by side. Uses what gallery.js knows, which is loaded after it. */

const back = "M15 5l-7 7 7 7";
const onwards = "M9 5l7 7-7 7";
const cross = "M6 6l12 12M18 6L6 18";

function iconButton(label, path, act, disabled = false) {
  const button = make("button", { type: "button", className: "button bare icon", "aria-label": label, title: label, disabled }, sign(path));
  button.onclick = act;
  return button;
}

function copyButton(label, text, what, first = false) {
  const button = make("button", { type: "button", className: `button${first ? " first" : ""}` }, label);
  button.onclick = () => copy(text, what);
  return button;
}

/* Whatever an output is, shown whole: a picture, a player, a sound with its shape, a text; or why there is nothing. */
function stage(output) {
  const place = make("div", { className: `stage ${output.kind}` });
  const failed = () => place.replaceChildren(make("p", { className: "nothing" }, `${output.name} cannot be shown by this browser.`));
  if (output.missing) {
    place.append(make("p", { className: "nothing" }, sign("M4 4l16 16M8 5h12v11M4 8v11h13", 40), make("span", {}, `This file was ${output.missing}.`.replace("was outside", "is outside").replace("was not", "is not")), make("code", {}, output.path)));
  } else if (output.kind === "image") {
    const image = make("img", { alt: alternative(output), src: output.file });
    image.onerror = failed;
    place.append(image);
  } else if (output.kind === "video") {
    const film = make("video", { controls: true, preload: "metadata", src: output.file, "aria-label": alternative(output) });
    if (output.picture) film.poster = output.picture;
    film.onloadedmetadata = () => place.style.setProperty("--shape", film.videoWidth / film.videoHeight || 16 / 9);
    film.onerror = failed;
    place.append(film);
  } else if (output.kind === "audio") {
    place.append(sound(output, failed));
  } else if (output.kind === "text" && output.file) {
    const text = make("pre", { tabIndex: 0, "aria-label": output.name });
    const nothing = () => place.replaceChildren(make("p", { className: "nothing" }, "This file is empty."));
    source.text(output, mostText).then((words) => (words ? text.append(visible(words), cutWords(output)) : nothing()), failed);
    place.append(text);
  } else failed();
  return place;
}

const mostText = 100_000;
const cutWords = (output) => (output.size > mostText ? "\n\n… The file goes on." : "");

function sound(output, failed) {
  const player = make("audio", { controls: true, preload: "metadata", src: output.file, "aria-label": alternative(output) });
  player.onerror = failed;
  const shape = make("div", { className: "shape", "aria-hidden": "true" });
  shape.onclick = (event) => {
    const bounds = shape.getBoundingClientRect();
    if (player.duration) player.currentTime = ((event.clientX - bounds.left) / bounds.width) * player.duration;
  };
  const place = make("div", { className: "sound" }, shape, player);
  if (!output.waveform) return make("div", { className: "sound" }, player);
  source.waveform(output).then((bars) => {
    shape.append(wave(bars));
    const drawn = [...shape.querySelectorAll("rect")];
    player.ontimeupdate = () => {
      const passed = player.duration ? (player.currentTime / player.duration) * drawn.length : 0;
      for (const [at, bar] of drawn.entries()) bar.classList.toggle("passed", at < passed);
    };
  }, (error) => shape.append(make("p", { className: "small" }, error.message)));
  return place;
}

function table(rows) {
  return make("dl", { className: "facts" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function part(title, ...inside) {
  return make("section", { className: "part" }, make("h3", {}, title), ...inside);
}

/* A job */

let opened = { job: "", number: 0 };

async function openJob(job, number) {
  opened = { job, number };
  let sheet;
  try {
    sheet = await source.job(job);
  } catch (error) {
    if (opened.job !== job) return;
    say(error.message);
    leave();
    return;
  }
  if (opened.job === job && opened.number === number) showJob(sheet, number);
}

function showJob(sheet, number) {
  const dialog = byId("job");
  const output = sheet.outputs[number];
  const place = indexOf(sheet.job, number);
  const by = (step) => () => stepTo(indexOf(sheet.job, number), step);
  const bar = make("div", { className: "above" },
    iconButton("Newer", back, by(-1), place < 1), iconButton("Older", onwards, by(1), place < 0 || place + 1 >= list.total),
    make("h2", { id: "job-title", className: "line" }, output ? output.name : sheet.model),
    place < 0 ? null : make("p", { className: "small number" }, `${(place + 1).toLocaleString("en")} of ${list.total.toLocaleString("en")}`),
    iconButton("Close", cross, leave));
  const left = make("div", { className: "seen" },
    output ? stage(output) : make("div", { className: "stage" }, make("p", { className: "nothing" }, nothingYet(sheet))),
    sheet.outputs.length > 1 ? strip(sheet, number) : null);
  const focused = dialog.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
  dialog.replaceChildren(bar, make("div", { className: "both" }, left, about(sheet, output)), make("p", { className: "said", role: "status", hidden: true }));
  if (!dialog.open) dialog.showModal();
  const again = [...dialog.querySelectorAll("button:enabled")].find((each) => focused && each.ariaLabel === focused);
  (again || dialog.querySelector("[aria-label=Close]")).focus();
  dialog.onkeydown = (event) => {
    if (event.target.closest("video, audio, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") by(-1)();
    if (event.key === "ArrowRight") by(1)();
  };
}

function nothingYet(sheet) {
  if (sheet.error) return sheet.error;
  return { pending: "It is being made.", unknown: "Nobody knows yet whether it was accepted." }[sheet.state] || "It has no files on this machine.";
}

function strip(sheet, number) {
  return make("div", { className: "strip" }, ...sheet.outputs.map((each) => {
    const label = `Output ${each.number + 1} of ${sheet.outputs.length}${each.label ? `: ${each.label}` : ""}`;
    const button = make("button", { type: "button", className: "mini", "aria-label": label }, glimpse(each));
    if (each.number === number) button.setAttribute("aria-current", "true");
    button.onclick = () => replaceJob(each.job, each.number);
    return button;
  }));
}

function about(sheet, output) {
  const price = sheet.price === null ? "Price unknown" : `${credits(sheet.price)}${sheet.paid ? "" : " quoted"}`;
  const tags = make("p", { className: "tags" },
    make("span", { className: `tag ${{ completed: "good", failed: "bad", refused: "bad", unknown: "bad" }[sheet.state] || ""}` }, sheet.state),
    make("span", { className: "tag" }, sheet.model), make("span", { className: "tag number" }, price),
    sheet.mode === "sandbox" ? make("span", { className: "tag warm" }, "Sandbox") : null);
  const buttons = make("p", { className: "buttons" },
    copyButton("Make another like this", sheet.another, "A sentence for your assistant was", true),
    sheet.prompt ? copyButton("Copy prompt", sheet.prompt, "The prompt was") : null,
    output ? copyButton("Copy path", output.path, "The path was") : null,
    output && !output.missing ? compareButton(output) : null);
  const extent = output ? [["File", output.name], ["Type", `${output.media_type}, ${size(output.size)}`], ["Path", output.path]] : [];
  return make("div", { className: "words", tabIndex: 0, role: "region", "aria-label": "About this job" },
    tags,
    output && output.unseen ? make("p", { className: "notice" }, output.unseen) : null,
    sheet.error && output ? make("p", { className: "message" }, sheet.error) : null,
    sheet.prompt ? make("p", { className: "prompt" }, sheet.prompt) : null,
    buttons,
    make("p", { className: "small" }, "“Make another like this” copies a sentence for your assistant, which asks you before anything is paid."),
    sheet.settings.length ? part("Settings", table(sheet.settings)) : null,
    sheet.inputs.length ? part("Inputs", make("ul", { className: "inputs" }, ...sheet.inputs.map((each) => make("li", {}, each)))) : null,
    part("Details", table([...sheet.facts, ...extent])),
    sheet.sidecar ? make("details", { className: "part" }, make("summary", {}, "Sidecar"), make("pre", { tabIndex: 0 }, sheet.sidecar)) : null);
}

function compareButton(output) {
  const button = make("button", { type: "button", className: "button" });
  const words = () => { button.textContent = chosen.has(idOf(output)) ? "Chosen to compare" : "Compare"; };
  button.onclick = () => {
    if (!chosen.has(idOf(output)) && chosen.size >= mostCompared) {
      say("Four at most are compared; take one away first.");
      return;
    }
    if (chosen.has(idOf(output))) chosen.delete(idOf(output));
    else chosen.set(idOf(output), output);
    button.setAttribute("aria-pressed", chosen.has(idOf(output)));
    words();
    drawTray();
    redraw();
  };
  button.setAttribute("aria-pressed", chosen.has(idOf(output)));
  words();
  return button;
}

/* Where the list has this output, as far as it has been loaded. */
function indexOf(job, number) {
  for (const [at, found] of list.pages) {
    const inside = Array.isArray(found) ? found.findIndex((each) => each.job === job && each.number === number) : -1;
    if (inside >= 0) return at * page + inside;
  }
  return -1;
}

async function stepTo(place, step) {
  const index = place + step;
  if (place < 0 || index < 0 || index >= list.total) return;
  let output = outputAt(index);
  if (!output) [output] = await source.outputs(wanted, index, 1).catch(() => []);
  if (!output) return;
  list.current = index;
  replaceJob(output.job, output.number);
}

function replaceJob(job, number) {
  history.replaceState(history.state, "", addressOf({ job, number }));
  openJob(job, number);
}

/* Side by side */

async function openComparison(ids) {
  const found = await Promise.all(ids.map(async (id) => {
    const [job, number] = id.split(":");
    const sheet = await source.job(job).catch(() => null);
    const output = sheet && sheet.outputs[Number(number)];
    return output ? { sheet, output } : null;
  }));
  const both = found.filter(Boolean);
  if (!readAddress().compare) return; /* left meanwhile */
  if (both.length < 2) {
    say("There are not two outputs to compare.");
    leave();
    return;
  }
  const dialog = byId("compare");
  dialog.replaceChildren(
    make("div", { className: "above" }, make("h2", { id: "compare-title", className: "line" }, `${both.length} side by side`), iconButton("Close", cross, leave)),
    make("div", { className: "beside", "data-count": both.length, tabIndex: 0, role: "region", "aria-label": "Side by side" }, ...both.map((each, at) => column(each, at, both))),
    make("p", { className: "said", role: "status", hidden: true }));
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("[aria-label=Close]").focus();
}

/* What all have in common is said quietly; what differs stands out. */
function column({ sheet, output }, at, all) {
  const rows = (each) => new Map([
    ["Model", each.sheet.model],
    ["Price", each.sheet.price === null ? "unknown" : credits(each.sheet.price)],
    ...each.sheet.settings,
    ["Recipe", each.output.recipe],
    ["Label", each.output.label],
  ].filter(([, value]) => value));
  const mine = rows({ sheet, output });
  const names = [...new Set(all.flatMap((each) => [...rows(each).keys()]))];
  const differs = (name) => new Set(all.map((each) => rows(each).get(name))).size > 1;
  const list_ = make("dl", { className: "facts" }, ...names.flatMap((name) => {
    const manner = differs(name) ? "differs" : "";
    return [make("dt", { className: manner }, name), make("dd", { className: manner }, mine.get(name) || "–")];
  }));
  const same = new Set(all.map((each) => each.sheet.prompt)).size === 1;
  return make("article", { "aria-label": `${at + 1}: ${alternative(output).slice(0, 100)}` },
    stage(output),
    make("h2", { className: "line" }, make("span", { className: "tag number" }, String(at + 1)), " ", output.name),
    make("p", { className: "buttons" }, copyButton("Make another like this", sheet.another, "A sentence for your assistant was"), copyButton("Copy path", output.path, "The path was")),
    list_,
    make("p", { className: `prompt ${same ? "same" : ""}` }, sheet.prompt));
}

for (const id of ["job", "compare"]) {
  document.addEventListener("DOMContentLoaded", () => byId(id).addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  }));
}
