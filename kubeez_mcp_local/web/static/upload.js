"use strict";

const byId = (id) => document.getElementById(id);
const token = location.pathname.split("/").pop();
const words = { image: ["picture", "pictures"], video: ["video", "videos"], audio: ["sound file", "sound files"] };
const signs = { image: "🖼", video: "🎬", audio: "♪" };
/* Browsers leave the type empty for extensions they do not know; the server insists on a real one. */
const types = {
  jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", webp: "image/webp", gif: "image/gif",
  mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime", mkv: "video/x-matroska", webm: "video/webm",
  mp3: "audio/mpeg", wav: "audio/wav", m4a: "audio/mp4", ogg: "audio/ogg", oga: "audio/ogg", opus: "audio/ogg",
  weba: "audio/webm", flac: "audio/flac",
};

let session = null;
let entries = [];
let busy = false;

const typeOf = (file) => types[file.name.split(".").pop().toLowerCase()] || file.type || "";
const kindOf = (file) => typeOf(file).split("/")[0];
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;
const waiting = () => entries.filter((entry) => entry.status !== "done");
const arrivedHere = () => entries.length - waiting().length;
const roomLeft = () => session.max_files - session.count - waiting().length;

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1024 ** 2 ? `${Math.round(bytes / 1024)} KB` : `${Number((bytes / 1024 ** 2).toFixed(1))} MB`;
}

function listed(list) {
  return list.length < 2 ? list.join("") : `${list.slice(0, -1).join(", ")} and ${list[list.length - 1]}`;
}

function say(text) {
  byId("message").textContent = text || "";
  byId("message").hidden = !text;
}

function expired() {
  return Date.now() >= Date.parse(session.expires_at);
}

/* What is shown follows from `session` and `entries`; everything is drawn anew after each change. */

function draw() {
  const kinds = session.accepted_kinds.map((kind) => words[kind][1]);
  const lead = byId("for");
  lead.textContent = "For ";
  lead.append(Object.assign(document.createElement("b"), { textContent: session.model_id }));
  lead.append(`, which takes ${session.max_files === 1 ? "one file" : `up to ${session.max_files} files`}: ${listed(kinds)}.`);
  byId("rules").textContent = `At most ${size(session.max_file_bytes)} each`;
  byId("notice").textContent = session.notice;
  byId("notice").hidden = !session.notice;
  const until = new Date(session.expires_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  byId("expires").textContent = expired() ? " This link has expired." : ` This link works until ${until}.`;
  const closed = expired() || roomLeft() < 1 || busy;
  byId("drop").classList.toggle("closed", closed);
  byId("choose").disabled = closed;
  byId("picker").accept = session.accepted_kinds.map((kind) => `${kind}/*`).join(",") + ",.mkv,.mov,.m4a,.flac,.weba";
  byId("picker").multiple = session.max_files > 1;
  drawList();
  drawArrived();
}

function drawList() {
  byId("chosen").hidden = entries.length === 0;
  byId("list").replaceChildren(...entries.map(drawEntry));
  const count = waiting().length;
  const failed = waiting().some((entry) => entry.status === "failed");
  byId("send").hidden = count === 0;
  byId("send").disabled = busy || expired();
  byId("send").textContent = busy ? "Handing over…" : `${failed ? "Try again with" : "Hand over"} ${plural(count, "file", "files")}`;
}

function drawEntry(entry, index) {
  const row = byId("entry").content.firstElementChild.cloneNode(true);
  const find = (name) => row.querySelector(name);
  const before = session.count - arrivedHere();
  row.className = entry.status;
  find(".number").textContent = `${before + index + 1}`;
  find(".name").textContent = entry.file.name;
  find(".name").title = entry.file.name;
  find(".detail").textContent = entry.note || `${words[kindOf(entry.file)][0]}, ${size(entry.file.size)}`;
  find(".thumb").append(entry.thumb);
  for (const button of row.querySelectorAll(".tools button")) {
    button.setAttribute("aria-label", `${button.title}: ${entry.file.name}`);
  }
  const bar = find("progress");
  bar.setAttribute("aria-label", `Progress of ${entry.file.name}`);
  bar.hidden = entry.status !== "sending";
  if (entry.progress >= 100) bar.removeAttribute("value");
  else bar.value = entry.progress;
  const fixed = busy || entry.status === "done";
  const above = entries[index - 1];
  find(".up").disabled = fixed || !above || above.status === "done";
  find(".down").disabled = fixed || index === entries.length - 1;
  find(".remove").disabled = fixed;
  find(".up").onclick = () => move(index, -1);
  find(".down").onclick = () => move(index, 1);
  find(".remove").onclick = () => remove(index);
  entry.bar = bar;
  entry.detail = find(".detail");
  return row;
}

function drawArrived() {
  byId("arrived").hidden = session.count === 0 || busy || waiting().length > 0;
  byId("arrived-title").textContent = session.count === 1 ? "The file has arrived" : `${session.count} files have arrived`;
}

/* Choosing */

function thumbnail(file) {
  const kind = kindOf(file);
  if (kind === "audio") return Object.assign(document.createElement("span"), { textContent: signs.audio });
  const shown = document.createElement(kind === "image" ? "img" : "video");
  if (kind === "image") shown.alt = "";
  else Object.assign(shown, { muted: true, preload: "metadata" });
  shown.onerror = () => shown.replaceWith(signs[kind]);
  shown.src = URL.createObjectURL(file);
  return shown;
}

function add(files) {
  if (!session || busy || expired()) return;
  const refused = [];
  for (const file of files) {
    const problem = problemWith(file);
    if (problem) refused.push(`${file.name} ${problem}.`);
    else entries.push({ file, status: "waiting", progress: 0, note: "", thumb: thumbnail(file) });
  }
  say(refused.join(" "));
  draw();
}

function problemWith(file) {
  const kind = kindOf(file);
  if (!words[kind]) return "is not a picture, video or sound file";
  if (!session.accepted_kinds.includes(kind)) return `is a ${words[kind][0]}, which this model does not take`;
  if (file.size === 0) return "is empty";
  if (file.size > session.max_file_bytes) return `is larger than ${size(session.max_file_bytes)}`;
  return roomLeft() < 1 ? `is one too many: at most ${plural(session.max_files, "file", "files")}` : "";
}

function move(index, by) {
  [entries[index], entries[index + by]] = [entries[index + by], entries[index]];
  draw();
  focusIn(index + by, by < 0 ? [".up", ".down"] : [".down", ".up"]);
}

/* The buttons are drawn anew after each change; whoever works without a mouse goes on where they were. */
function focusIn(index, tools) {
  const row = byId("list").children[index];
  const buttons = row ? tools.map((tool) => row.querySelector(tool)) : [];
  [...buttons, byId("choose")].find((button) => !button.disabled)?.focus();
}

function remove(index) {
  const [gone] = entries.splice(index, 1);
  URL.revokeObjectURL(gone.thumb.src);
  say("");
  draw();
  focusIn(Math.min(index, entries.length - 1), [".remove"]);
}

/* Handing over: one file after another, so that the order is kept */

function post(entry) {
  const form = new FormData();
  form.append("file", new File([entry.file], entry.file.name, { type: typeOf(entry.file) }));
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/upload/${token}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      entry.progress = (event.loaded / event.total) * 100;
      if (entry.progress < 100) entry.bar.value = entry.progress;
      else handedOn(entry);
    };
    request.onload = () => {
      const answer = request.response || {};
      if (request.status === 200) resolve(answer);
      else reject(new Error([answer.message, answer.next_step].filter(Boolean).join(" ") || "it was not accepted"));
    };
    request.onerror = () => reject(new Error("the program that serves this page does not answer any more"));
    request.send(form);
  });
}

function handedOn(entry) {
  entry.bar.removeAttribute("value");
  entry.detail.textContent = "Passing it on…";
}

async function send() {
  busy = true;
  say("");
  for (const entry of waiting()) {
    Object.assign(entry, { status: "sending", progress: 0, note: "" });
    draw();
    try {
      session = { ...session, ...(await post(entry)) };
      Object.assign(entry, { status: "done", note: "Handed over" });
    } catch (error) {
      Object.assign(entry, { status: "failed", note: `Not taken: ${error.message}` });
      break;
    }
  }
  busy = false;
  entries.sort((one, other) => (other.status === "done") - (one.status === "done"));
  draw();
}

/* Start */

function listen() {
  const drop = byId("drop");
  byId("choose").onclick = () => byId("picker").click();
  byId("picker").onchange = (event) => {
    add([...event.target.files]);
    event.target.value = "";
  };
  byId("send").onclick = send;
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  window.addEventListener("beforeunload", (event) => {
    if (busy) event.preventDefault();
  });
}

async function start() {
  try {
    const answer = await fetch(`/u/${token}/state`);
    if (!answer.ok) throw new Error("this link is not valid any more");
    session = await answer.json();
  } catch (error) {
    say(`The page cannot be used: ${error.message}. Ask your assistant for a new link.`);
    byId("drop").hidden = true;
    return;
  }
  listen();
  draw();
  setTimeout(draw, Math.max(0, Date.parse(session.expires_at) - Date.now()) + 500);
}

start();
