"use strict";
// Webhooks and what came in by them, on the public API. Nothing is kept here that the server does not say.

// What becomes of a request, in words, and whether that is good, bad or not yet known.
const STATES = {
  delivered: ["Delivered", "good"], queued: ["Queued", "busy"], retrying: ["Retrying", "busy"], dead: ["Given up", "bad"],
  rejected: ["Rejected", "bad"], filter_error: ["Filter failed", "bad"], duplicate: ["Duplicate", ""],
  filtered: ["Filtered out", ""], ignored: ["Ignored", ""],
};
const TOLD = { pending: ["Waiting", "busy"], delivered: ["Told", "good"], dead: ["Given up", "bad"] };
const PAGE = 50;
let cursor = null; // older than this is shown
let next = null;
let timer;
let shown = null; // the delivery in the dialog

const call = (method, path, body) => ask(method, "/hooks" + path, body, ({ error }) => error);

const ago = (time) => {
  const seconds = Math.min(0, (Date.parse(time) - now()) / 1000);
  return seconds > -10 ? "just now" : when(seconds);
};

// ---- rows ---------------------------------------------------------------------------------------

/** Puts rows into a list, reusing those that are there; what is the same is not touched. */
function fill(list, items, key, update) {
  const rows = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const wanted = items.map((item) => {
    const row = rows.get(key(item)) ?? $("row").content.firstElementChild.cloneNode(true);
    row.dataset.key = key(item);
    update(row, item);
    return row;
  });
  if (wanted.length !== rows.size || wanted.some((row, index) => list.children[index] !== row)) {
    list.replaceChildren(...wanted);
  }
}

function say(row, title, about, [word, mood]) {
  for (const [place, text] of [["h3", title], [".dim", about], [".word", word]]) {
    const node = row.querySelector(place);
    if (node.textContent !== text) node.textContent = text;
  }
  if (row.className !== mood) row.className = mood;
}

/** The buttons of a row: a name each, and what it does. */
function offer(row, buttons) {
  const names = buttons.map(([name]) => name).join();
  const place = row.querySelector(".actions");
  if (place.dataset.names === names) return;
  place.dataset.names = names;
  place.replaceChildren(...buttons.map(([name, work]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.onclick = work;
    return button;
  }));
}

// ---- webhooks -----------------------------------------------------------------------------------

async function copyAddress(name) {
  const { items } = await call("GET", "/endpoints?paths=full");
  const hook = items.find((item) => item.name === name);
  const address = hook?.urls?.[0] ?? hook?.paths[0] ?? "";
  if (!address || address.endsWith("…")) throw new Error(`You may not see the address of ${name}: it is a secret.`);
  try {
    await navigator.clipboard.writeText(address);
    tell(`The address of ${name} is copied. Whoever has it can send.`);
  } catch {
    tell(address);
  }
}

async function test(name) {
  const { status, body, state } = await call("POST", `/endpoints/${name}/test`);
  const [word] = STATES[state] ?? [state];
  tell(`A sample was answered ${status}${body.trim() && `: ${body.trim()}`} (${word.toLowerCase()}).`, status >= 300);
}

function updateHook(row, hook) {
  const counts = `${hook.accepted} accepted, ${hook.refused} refused`;
  const last = hook.lastAccepted && `last one ${ago(hook.lastAccepted)}`;
  const tells = hook.targets.length && `tells ${hook.targets.map((target) => target.split("/").pop()).join(", ")}`;
  say(row, hook.name, [hook.source, tells, counts, last].filter(Boolean).join(" · "),
    hook.paused ? ["Paused", "off"] : ["Receives", "good"]);
  const action = hook.paused ? "resume" : "pause";
  offer(row, [
    ["Copy address", () => attempt(() => copyAddress(hook.name))],
    ["Send sample", () => attempt(() => test(hook.name))],
    [hook.paused ? "Resume" : "Pause", () => attempt(() => call("POST", `/endpoints/${hook.name}/${action}`))],
  ]);
  row.querySelector(".soon").hidden = !hook.warnings.length;
  row.querySelector(".soon span").textContent = hook.warnings.join("; ");
}

// ---- what came in -------------------------------------------------------------------------------

function about({ kind, event, repo, branch, tag, image, object }) {
  const thing = repo?.fullName || repo?.urls?.[0] || (image && [image.domain, image.name].filter(Boolean).join("/")) ||
    (object && `${object.bucket}/${object.key}`);
  const place = branch ?? tag ?? image?.tags?.join(", ");
  return [event || kind, thing, place].filter(Boolean).join(" · ");
}

function title(item) {
  if (!item.events) return item.reason || `Request of ${item.address}`;
  const [first, ...more] = item.events;
  if (!first) return "Nothing";
  return about(first) + (more.length ? ` and ${more.length} more` : "");
}

function updateItem(row, item) {
  const trouble = item.notifications?.find((one) => one.lastError && one.state !== "delivered")?.lastError;
  const from = [item.endpoint, item.source, ago(item.receivedAt)].join(" · ");
  say(row, title(item), from, STATES[item.state] ?? [item.state, ""]);
  row.querySelector(".soon").hidden = !trouble;
  row.querySelector(".soon span").textContent = trouble ?? "";
  offer(row, [["Details", () => attempt(() => show(item.id))]]);
}

function updateTold(row, one) {
  const merged = typeof one.state === "object" || one.state === "merged";
  const state = merged ? ["With another", ""] : TOLD[one.state] ?? [one.state, ""];
  // The count begins anew with each time that it is delivered again.
  const count = Math.max(one.attempts, one.history?.length ?? 0);
  const tries = count === 1 ? "tried once" : `tried ${count} times`;
  const due = one.state === "pending" && one.due && `next ${when(Math.max(0, (one.due - now()) / 1000))}`;
  say(row, one.target, [one.subject, tries, due].filter(Boolean).join(" · "), state);
  row.querySelector(".soon").hidden = !one.lastError;
  row.querySelector(".soon span").textContent = one.lastError ?? "";
}

async function show(id) {
  renderOne(await call("GET", `/deliveries/${id}`));
  $("one-dialog").showModal();
}

function renderOne(item) {
  shown = item;
  const [word] = STATES[item.state] ?? [item.state];
  $("one-title").textContent = title(item);
  const facts = [`${word}, came ${new Date(item.receivedAt).toLocaleString()}`, item.endpoint,
    item.deliveryId && `the sender's id is ${item.deliveryId}`, item.address && `from ${item.address}`,
    item.status && `answered ${item.status}`, item.reason];
  $("one-about").textContent = facts.filter(Boolean).join(" · ");
  fill($("told"), item.notifications ?? [], ({ target, event, subject }) => `${target} ${event} ${subject}`, updateTold);
  const { headers = [], body, bodyBase64 } = item.request ?? {};
  const lines = headers.map(({ name, value }) => `${name}: ${value}`);
  $("request").hidden = !item.request;
  $("request-text").textContent = [...lines, "", body ?? bodyBase64 ?? ""].join("\n");
  const idle = item.notifications?.length && item.notifications.every((one) => one.state !== "pending");
  $("again").hidden = !idle;
  $("forget").hidden = item.state !== "dead";
}

async function act(method, path, words) {
  $("one-dialog").close();
  await attempt(async () => {
    await call(method, path, method === "POST" ? {} : undefined);
    tell(words);
  });
}

// ---- keeping up ---------------------------------------------------------------------------------

let silent = false; // whether the last round failed

function query() {
  const wanted = { endpoint: $("hook").value, state: $("state").value, q: $("words").value.trim(), cursor, limit: PAGE };
  return new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
}

function renderHooks(hooks) {
  fill($("hooks"), hooks, ({ name }) => name, updateHook);
  $("no-hooks").hidden = hooks.length > 0;
  const known = [...$("hook").options].slice(1).map((option) => option.value);
  const names = hooks.map(({ name }) => name);
  if (known.join() !== names.join()) {
    const chosen = $("hook").value;
    $("hook").replaceChildren($("hook").options[0], ...names.map((name) => new Option(name)));
    $("hook").value = names.includes(chosen) ? chosen : "";
  }
}

async function refresh() {
  clearTimeout(timer);
  let busy = false;
  try {
    const asked = query().toString();
    const [hooks, came] = await Promise.all([call("GET", "/endpoints"), call("GET", `/deliveries?${asked}`)]);
    if (asked !== query().toString()) return await refresh(); // chosen otherwise meanwhile
    renderHooks(hooks.items);
    fill($("came"), came.items, ({ id }) => id, updateItem);
    next = came.next;
    busy = came.items.some(({ state }) => STATES[state]?.[1] === "busy");
    $("came-section").hidden = !hooks.items.length;
    $("nothing").hidden = came.items.length > 0;
    $("older").hidden = !next;
    $("newest").hidden = !cursor;
    if ($("one-dialog").open) {
      const item = await call("GET", `/deliveries/${shown.id}`);
      if (item.id === shown.id) renderOne(item);
    }
    if (silent) tell("");
    silent = false;
  } catch (error) {
    silent = true;
    tell(error.message, true);
  }
  soon(busy ? 1000 : 5000);
}

function soon(ms) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, ms);
}

/** Whatever comes in shows at once; should that not work, it shows a little later. */
function follow() {
  const live = new EventSource("api/v1/hooks/stream");
  for (const kind of ["delivery", "missed"]) live.addEventListener(kind, () => soon(100));
}

function turn(to) { cursor = to; refresh(); }
$("hook").onchange = $("state").onchange = $("words").oninput = () => turn(null);
$("filter").onsubmit = (event) => event.preventDefault();
$("older").onclick = () => { turn(next); $("came-title").scrollIntoView(); };
$("newest").onclick = () => turn(null);
$("again").onclick = () => act("POST", `/deliveries/${shown.id}/redeliver`, "It is delivered again.");
$("forget").onclick = () => act("DELETE", `/deadletters/${shown.id}`, "It is forgotten.");
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
follow();
