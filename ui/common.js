"use strict";
// What the pages have in common: asking the server, telling its user, words for times.

const $ = (id) => document.getElementById(id);
let ahead = 0; // by how many ms the server's clock is ahead of ours
const now = () => Date.now() + ahead;

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

/** Asks the API. What it refuses is thrown in its words, which `inWords` finds in the answer. */
async function ask(method, path, body, inWords) {
  let response;
  try {
    response = await fetch("api/v1" + path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "Quartermaster does not answer. Is it still running?");
  }
  ahead = (Date.parse(response.headers.get("date")) || Date.now()) - Date.now();
  const text = await response.text();
  let answer = null;
  try { answer = JSON.parse(text); } catch { /* logs are plain text */ }
  if (response.ok) return answer ?? text;
  if (response.status === 401) {
    throw new Refusal(401, "This browser is not signed in. Run “quartermaster open” in a terminal and open the address that it prints.");
  }
  throw new Refusal(response.status, (answer && inWords(answer)) || `The server answered ${response.status}.`);
}

function tell(text, bad = false) {
  $("notice").textContent = text;
  $("notice").className = bad ? "bad" : "";
  $("notice").hidden = !text;
}

/** Runs what a click started; what the server refuses is shown. Each page has its own `refresh`. */
async function attempt(work) {
  tell("");
  try { await work(); } catch (error) { tell(error.message, true); }
  await refresh();
}

const UNITS = [["day", 86400, 172800], ["hour", 3600, 5400], ["minute", 60, 90], ["second", 1, 0]];
const relative = new Intl.RelativeTimeFormat("en");

/** "5 minutes ago", "in 2 hours". */
function when(seconds) {
  const [unit, size] = UNITS.find(([, , from]) => Math.abs(seconds) >= from);
  return relative.format(Math.round(seconds / size), unit);
}
