"use strict";

/* The spend page: what the server tells, as numbers, columns and tables. Charts are pictures of tables beside them. */

const periods = [[7, "7 days"], [30, "30 days"], [90, "90 days"]];
const number = (amount) => Number(amount.toFixed(2)).toLocaleString("en");
const dayName = (day, words) => new Date(`${day}T00:00:00Z`).toLocaleDateString("en-GB", { timeZone: "UTC", ...words });
const shortDay = (day) => dayName(day, { day: "numeric", month: "short" });
const longDay = (day) => dayName(day, { weekday: "short", day: "numeric", month: "long", year: "numeric" });
const whole = (part) => part.charged + part.held;
const percent = (share) => `${(100 * share).toFixed(3)}%`;

function draw(tag, attributes = {}, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

const block = (manner, x, y, width, height, more = {}) => draw("rect", { class: manner, x, y, width, height, ...more });

/* A bar whose whole length is `of`. */
function bar(part, of, manner, words) {
  const charged = of ? Math.min(part.charged / of, 1) : 0;
  const held = of ? Math.min(part.held / of, 1 - charged) : 0;
  const seen = (share) => percent(share && Math.max(share, 0.006));
  const label = words ? { role: "img", "aria-label": words } : { "aria-hidden": "true" };
  return draw(
    "svg", { class: manner, ...label },
    ...(manner === "meter" ? [block("track", 0, 0, "100%", "100%", { rx: 6 })] : []),
    block("charged", 0, 0, seen(charged), "100%", { rx: 3 }),
    block("held", percent(charged), 0, seen(held), "100%", { rx: 3 }),
  );
}

/* The next round number above an amount. */
function roundAbove(amount) {
  const power = 10 ** Math.floor(Math.log10(Math.max(amount, 0.01)));
  return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((round) => round >= amount * 0.999999);
}

const isNear = (ceiling, most) => ceiling > 0 && ceiling <= 2.5 * most;

/* Columns of days. The ceiling is drawn where it does not make columns of lines. */
function chart(account) {
  const { days, per_day: ceiling } = account;
  const most = Math.max(...days.map(whole));
  const near = isNear(ceiling, most);
  const top = roundAbove(near ? Math.max(most, ceiling * 1.1) : most);
  const up = (amount) => percent(1 - amount / top);
  const step = 1 / days.length;
  const lines = [0, 0.5, 1].flatMap((share) => [
    draw("line", { class: "rule", x1: 0, x2: "100%", y1: percent(1 - share), y2: percent(1 - share) }),
  ]);
  const names = [0.5, 1].map((share) => draw("text", { x: 0, y: percent(1 - share), dy: -4 }, number(top * share)));
  const columns = days.map((day, place) => {
    const [x, width] = [percent((place + 0.16) * step), percent(0.68 * step)];
    const least = (amount) => (amount ? Math.max(amount, top * 0.008) : 0);
    const [charged, held] = [least(day.charged), least(day.held)];
    return draw(
      "g", { class: "column" },
      draw("title", {}, `${longDay(day.name)}: ${amounts(day)}`),
      block("charged", x, up(charged), width, percent(charged / top)),
      block("held", x, up(charged + held), width, percent(held / top)),
    );
  });
  const limit = near ? [draw("line", { class: "ceiling", x1: 0, x2: "100%", y1: up(ceiling), y2: up(ceiling) })] : [];
  const limitName = near
    ? [draw("text", { class: "ceiling-name", x: "100%", y: up(ceiling), dy: -5, "text-anchor": "end" }, `ceiling of a day: ${number(ceiling)}`)]
    : [];
  return draw("svg", { class: "plot", role: "img", "aria-label": inWords(account) }, ...lines, ...columns, ...limit, ...names, ...limitName);
}

const amounts = (part) => [`${credits(part.charged)}`, part.held ? `${number(part.held)} held back` : ""].filter(Boolean).join(", ");

function inWords({ days, per_day: ceiling }) {
  const dearest = days.reduce((most, day) => (whole(day) > whole(most) ? day : most));
  const sum = days.reduce((all, day) => ({ charged: all.charged + day.charged, held: all.held + day.held }), { charged: 0, held: 0 });
  const used = days.filter((day) => whole(day) > 0).length;
  const spread = used > 1 ? `on ${used} days, most on ${longDay(dearest.name)} (${number(whole(dearest))})` : `on ${longDay(dearest.name)}`;
  const held = sum.held ? ` ${credits(sum.held)} of it held back, not charged yet.` : "";
  const limit = isNear(ceiling, whole(dearest)) ? `is ${number(ceiling)}` : `, ${number(ceiling)}, is above this chart`;
  return `${credits(whole(sum))} ${spread}.${held} The ceiling of a day${limit.startsWith(",") ? "" : " "}${limit}.`;
}

function legend(parts) {
  const held = parts.some((part) => part.held);
  const entry = (manner, words) => make("span", {}, draw("svg", { "aria-hidden": "true" }, block(manner, 0, 0, "100%", "100%", { rx: 2 })), words);
  return held ? make("p", { className: "key" }, entry("charged", "charged"), entry("held", "held back, not charged yet")) : "";
}

function tableOf(heading, parts, nameOf, withBars) {
  const held = parts.some((part) => part.held);
  const head = [
    make("th", { scope: "col" }, heading),
    ...(withBars ? [make("th", { "aria-hidden": "true" })] : []),
    make("th", { scope: "col", className: "amount" }, "jobs"),
    make("th", { scope: "col", className: "amount" }, "credits"),
    ...(held ? [make("th", { scope: "col", className: "amount" }, "held")] : []),
  ];
  const most = Math.max(...parts.map(whole));
  const rows = parts.map((part) => make(
    "tr", {},
    make("td", { className: "name" }, make("bdi", {}, ...breakable(nameOf(part)))),
    ...(withBars ? [make("td", { className: "of", "aria-hidden": "true" }, bar(part, most, "bar-of"))] : []),
    make("td", { className: "amount" }, part.jobs.toLocaleString("en")),
    make("td", { className: "amount" }, number(part.charged)),
    ...(held ? [make("td", { className: "amount" }, number(part.held))] : []),
  ));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

/* A name that may be broken behind its signs. */
const breakable = (name) => name.split(/(?<=[_-])/).flatMap((piece) => [piece, make("wbr")]);

function partsCard(title, heading, parts, without) {
  const spent = parts.filter((part) => whole(part) > 0);
  if (!spent.length || (spent.length === 1 && !spent[0].name)) return "";
  const id = `by-${heading}`;
  return make(
    "section", { className: "card", "aria-labelledby": id },
    make("h2", { id }, title),
    tableOf(heading, spent, (part) => part.name || without, spent.length > 1),
  );
}

function openJob(job) {
  const states = { sending: "on its way", accepted: "running", unknown: "fate unknown" };
  const at = new Date(job.at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
  return make(
    "li", {},
    make("p", { className: "what" },
      make("span", { className: `tag ${job.state === "unknown" ? "bad" : "warm"}` }, states[job.state] || "ended, price unknown"),
      make("strong", {}, make("bdi", {}, job.prompt || job.model || job.job.slice(0, 12))),
      make("span", { className: "small number" }, `${number(job.held)} held back · ${job.model} · ${at} UTC`)),
    make("p", { className: "small" }, job.why),
    ...job.ways.map(([words, command]) => make(
      "p", { className: "way" },
      make("span", {}, `${words}:`), make("code", {}, command),
      make("button", { type: "button", className: "button bare", "aria-label": `Copy the command: ${words}`, onclick: () => copy(command, "The command") }, "Copy"),
    )),
  );
}

function fact(name, value) {
  return [make("dt", {}, name), make("dd", {}, value)];
}

function show(account, days) {
  const nothing = !account.days.some((day) => day.jobs) && !account.open.length;
  byId("mode").hidden = account.mode !== "sandbox";
  byId("content").hidden = false;
  byId("files").hidden = nothing;
  byId("files").replaceChildren(...Object.entries(account.files).map(([kind, path]) => make(
    "a", { href: path, download: "", className: "button", "aria-label": `Download these ${days} days as ${kind.toUpperCase()}` }, kind.toUpperCase(),
  )));
  byId("remarks").replaceChildren(...account.remarks.map((words) => make("p", { className: "notice" }, words)));
  byId("left").textContent = number(account.left);
  byId("of").textContent = `of ${credits(account.per_day)} left`;
  const today = { charged: account.spent - account.held, held: account.held };
  byId("meter").replaceChildren(bar(today, account.per_day, "meter", `${number(account.spent)} of ${number(account.per_day)} used`));
  byId("used").textContent = [`${longDay(account.today)} (UTC): ${credits(today.charged)} charged`, today.held ? `${number(today.held)} held back` : ""].filter(Boolean).join(", ");
  const asks = account.asks_above === null ? "never" : account.asks_above === 0 ? "always" : `above ${number(account.asks_above)}`;
  byId("ceilings").replaceChildren(
    ...fact("one call", number(account.per_call)), ...fact("one run of a recipe", number(account.per_run)),
    ...fact("one day", number(account.per_day)), ...fact("your yes is asked", asks),
  );
  byId("open").hidden = !account.open.length;
  byId("open-title").textContent = `Held back by ${plural(account.open.length, "job", "jobs")}`;
  byId("jobs").replaceChildren(...account.open.map(openJob));
  const spent = account.days.some((day) => whole(day) > 0);
  byId("table").hidden = !spent;
  byId("sum").textContent = spent ? inWords(account) : `Nothing was spent in these ${days} days.`;
  byId("chart").replaceChildren(...(spent ? [
    chart(account),
    make("p", { className: "ends", "aria-hidden": "true" }, ...[0, Math.floor(days / 2), days - 1].map((place) => make("span", {}, shortDay(account.days[place].name)))),
    legend(account.days),
  ] : []));
  byId("day-table").replaceChildren(tableOf("day", account.days.filter((day) => day.jobs).reverse(), (day) => longDay(day.name), false));
  byId("parts").replaceChildren(...[
    partsCard("By model", "model", account.models, "without a model"),
    partsCard("By recipe", "recipe", account.recipes, "without a recipe"),
    partsCard("By tool", "tool", account.tools, "–"),
    account.doors.length > 1 ? partsCard("By door", "door", account.doors, "–") : "",
  ].filter(Boolean));
}

function chosen() {
  const days = Number(new URLSearchParams(location.hash.slice(1)).get("days"));
  return periods.some(([each]) => each === days) ? days : 30;
}

let asking = 0;
async function load() {
  const turn = (asking += 1);
  const days = chosen();
  for (const input of byId("period").querySelectorAll("input")) input.checked = Number(input.value) === days;
  try {
    const account = await askJson(`api/spend/account?days=${days}`);
    if (turn !== asking) return;
    byId("trouble").hidden = true;
    show(account, days);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
  }
}

byId("period").append(...periods.map(([days, words]) => make(
  "label", {},
  make("input", { type: "radio", name: "days", value: days, onchange: () => { history.replaceState(null, "", `#days=${days}`); load(); } }), words,
)));
addEventListener("hashchange", load);
document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
load();
