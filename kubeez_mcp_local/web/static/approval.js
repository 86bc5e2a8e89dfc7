"use strict";

const byId = (id) => document.getElementById(id);
const here = location.pathname;

function fail(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

function over(text) {
  byId("question").hidden = true;
  fail(text);
}

function answered(state) {
  byId("buttons").hidden = byId("choices").disabled = true;
  const done = state.answer
    ? `${state.choices.length ? "Thank you" : "You said yes"}. ${state.waited_for ? "Your assistant goes on." : "Tell your assistant to go on: it has to make its call again."}`
    : (state.choices.length ? "Nothing is settled by this." : "You said no. Nothing is paid.");
  byId("said").textContent = `${done} You may close this page.`;
  byId("said").classList.toggle("no", !state.answer);
  byId("said").hidden = false;
}

function draw(state) {
  document.title = state.title;
  byId("title").textContent = state.title;
  byId("notice").textContent = state.notice;
  byId("notice").hidden = !state.notice;
  byId("lines").replaceChildren(...state.lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
  byId("prompt").querySelector("blockquote").textContent = state.prompt;
  byId("prompt").hidden = !state.prompt;
  byId("yes").textContent = state.yes;
  byId("no").textContent = state.no;
  for (const [name, words] of state.choices) {
    const tick = Object.assign(document.createElement("input"), { type: "checkbox", value: name });
    const label = document.createElement("label");
    label.append(tick, Object.assign(document.createElement("span"), { textContent: words }));
    byId("choices").append(label);
  }
  byId("choices").hidden = !state.choices.length;
  const until = new Date(state.expires_at * 1000);
  byId("expires").textContent = ` It can be answered until ${until.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}.`;
  if (state.picture) {
    byId("picture").addEventListener("load", () => { byId("picture").hidden = false; });
    byId("picture").src = `${here}/picture`;
  }
  byId("question").hidden = false;
  if (state.answer !== null) answered(state);
  else setTimeout(() => { if (byId("said").hidden) over("This question is over: nobody answered it in time. Nothing is paid."); }, until - Date.now());
}

async function asked(options) {
  const answer = await fetch(options ? here : `${here}/state`, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(`${found.message} ${found.next_step}`);
  return found;
}

async function say(answer) {
  byId("yes").disabled = byId("no").disabled = true;
  fail("");
  try {
    const chosen = [...document.querySelectorAll("#choices input:checked")].map((tick) => tick.value);
    if (answer === "yes" && !byId("choices").hidden && !chosen.length) throw new Error("Tick what applies first.");
    const body = JSON.stringify(answer === "yes" && chosen.length ? { answer, chosen } : { answer });
    answered(await asked({ method: "POST", body }));
  } catch (error) {
    byId("yes").disabled = byId("no").disabled = false;
    fail(error instanceof TypeError ? "The program that asked does not answer any more. Nothing is paid." : error.message);
  }
}

byId("yes").addEventListener("click", () => say("yes"));
byId("no").addEventListener("click", () => say("no"));
asked().then(draw, (error) => over(error instanceof TypeError ? "The program that asked does not answer any more. Nothing is paid." : error.message));
