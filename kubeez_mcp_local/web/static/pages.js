"use strict";

/* What all pages share: the key, asking the server, events, words, copying. Scripts are no modules, so that an exported
   page also works where it is opened as a file. Whatever others wrote is only ever set as text, never as markup. */

const byId = (id) => document.getElementById(id);

/* A new element: its properties, `data-` and `aria-` attributes as they are, and what is inside. */
function make(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.includes("-")) element[name] = value;
    else if (value !== undefined) element.setAttribute(name, value);
  }
  const there = inside.filter((each) => each !== null && each !== undefined && each !== "");
  element.append(...there.map((each) => (typeof each === "string" ? visible(each) : each)));
  return element;
}

/* What turns the direction of writing or hides is shown as its number, so that nobody reads what is not there. */
const unseenSigns = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;
const visible = (text) => text.replace(unseenSigns, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);

/* A picture of lines, from the data of its path. */
function sign(path, size = 20) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "path");
  const attributes = { viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true" };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  const drawn = { d: path, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" };
  for (const [name, value] of Object.entries(drawn)) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

/* The key came behind the # of the address; it is taken out at once and kept for this site only. */

const stored = "kubeez-key";
let key = "";

function takeKey() {
  const said = new URLSearchParams(location.hash.slice(1));
  try {
    if (said.has("key")) localStorage.setItem(stored, said.get("key"));
    key = localStorage.getItem(stored) || "";
  } catch {
    key = said.get("key") || "";
  }
  if (!said.has("key")) return;
  said.delete("key");
  history.replaceState(null, "", `${location.pathname}${said.size ? `#${said}` : ""}`);
}

class Refused extends Error {}

const over = "The program that served this page has ended. Open the gallery again, or ask your assistant for it.";

/* The server's answer; what it refuses is said in its own words. */
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { "x-kubeez-key": key } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(over);
  }
  if (answer.ok) return answer;
  if (answer.status === 401) throw new Refused("Open this page with the whole address that you were given.");
  const said = await answer.json().catch(() => ({}));
  throw new Refused([said.message, said.next_step].filter(Boolean).join(" ") || `The server answered ${answer.status}.`);
}

const askJson = async (path, options) => (await ask(path, options)).json();

/* Calls `told` with each event while the page can be seen (browsers have few connections for all tabs together);
   `ended` once the server does not answer any more. */
function follow(path, told, ended) {
  let connection = null;
  const connect = async () => {
    if (document.hidden || connection) return;
    const mine = connection = new AbortController();
    const error = await events(path, told, mine.signal).catch((failed) => failed);
    if (connection === mine) connection = null;
    if (!mine.signal.aborted) ended(error instanceof Refused ? error : new Refused(over));
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      connection?.abort();
      connection = null;
    } else connect();
  });
  connect();
}

async function events(path, told, signal) {
  const reader = (await ask(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (unread + value).split("\n\n");
    unread = whole.pop();
    for (const event of whole) told(JSON.parse(event.replace(/^data: /, "")));
  }
}

function live(text, manner = "") {
  byId("live").hidden = !text;
  byId("live").className = `live ${manner}`;
  if (byId("live").textContent !== text) byId("live").textContent = text;
}

let saying = 0;
function say(text) {
  const place = document.querySelector("dialog[open] .said") || byId("said");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(saying);
  saying = setTimeout(() => { place.hidden = true; }, 4000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea", { value: text, className: "unseen" });
    (document.querySelector("dialog[open]") || document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say(`${what} copied.`);
}

/* Words */

const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const credits = (amount) => `${Number(amount.toFixed(2)).toLocaleString("en")} ${amount === 1 ? "credit" : "credits"}`;
const size = (bytes) => {
  if (bytes < 1000) return plural(bytes, "byte", "bytes");
  const [unit, name] = bytes < 1e6 ? [1e3, "KB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(bytes / unit).toFixed(unit === 1e3 ? 0 : 1)} ${name}`;
};
const dayWords = { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };

function spokenDay(day) {
  const today = new Date().toISOString().slice(0, 10);
  const before = new Date(Date.now() - 864e5).toISOString().slice(0, 10);
  if (day === today) return "Today";
  return day === before ? "Yesterday" : new Date(`${day}T00:00:00Z`).toLocaleDateString("en-GB", dayWords);
}

/* The way to the content leaves the address alone, since that says what is shown. */
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

takeKey();
