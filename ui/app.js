"use strict";
// One page on the public API. Nothing is kept here that the server does not say.

const LABELS = { Unknown: "Starting", Pending: "Starting", Terminating: "Stopping" };
const BUSY = new Set(["Unknown", "Pending", "Terminating"]);
let namespace = "default";
let kinds = [];
let workspaces = [];
let claims = new Set();
let pauses = new Map(); // in how many seconds those are paused that nobody uses
let making = false;
let nameIsOurs = true;
let timer;

// ---- talking to the API -------------------------------------------------------------------------

function inWords({ error }) {
  if (!error) return "";
  const causes = [...(error.cause?.validation_errors ?? []), ...(error.cause?.conflict_cause ?? [])];
  const lines = causes.map((cause) => (cause.field ? `${cause.field}: ${cause.message}` : cause.message));
  return [error.message, ...lines].join("\n");
}

async function call(method, path, data) {
  const answer = await ask(method, path, data && { data }, inWords);
  return typeof answer === "string" ? answer : answer.data;
}

// ---- activity -----------------------------------------------------------------------------------

/** Whether it would be paused soon, as far as is known. */
function warned({ state, paused, activity }) {
  const at = activity.rules?.pauseWorkspace?.warnAfter;
  return state === "Running" && !paused && at > 0 && now() >= at;
}

function lastUsed({ state, activity }) {
  if (!activity.lastActivity || !["Running", "Paused"].includes(state)) return "";
  const seconds = Math.min(0, (activity.lastActivity - now()) / 1000);
  return seconds > -90 ? "last used just now" : `last used ${when(seconds)}`;
}

function warning(workspace) {
  const left = pauses.get(workspace.name);
  if (left !== undefined) return left > 0 ? `Nobody uses it: pauses ${when(left)}.` : "Nobody uses it: pauses at any moment.";
  if (warned(workspace) && workspace.activity.lastProbe && workspace.activity.lastProbe.result !== "Success") {
    return "Not used for long, but not paused: its activity cannot be found out.";
  }
  return "";
}

async function keep(name) {
  const { culling } = await call("POST", `/workspaces/${namespace}/${name}/actions/keepalive`, {});
  const left = culling?.secondsUntilPause;
  tell(left > 0 ? `${name} is kept. Unused, it pauses ${when(left)}.` : `${name} is kept.`);
}

// ---- the list -----------------------------------------------------------------------------------

function picture(url, title) {
  const image = new Image(36, 36);
  image.className = "icon";
  image.alt = "";
  image.onerror = () => {
    const letter = document.createElement("div");
    letter.className = "letter";
    letter.textContent = [...title][0]?.toUpperCase() ?? "?";
    image.replaceWith(letter);
  };
  image.src = url;
  return image;
}

const kindOf = (workspace) => kinds.find((kind) => kind.name === workspace.workspaceKind.name);

function makeRow(workspace) {
  const row = $("row").content.firstElementChild.cloneNode(true);
  row.dataset.name = workspace.name;
  const title = kindOf(workspace)?.displayName ?? workspace.workspaceKind.name;
  row.querySelector(".icon").replaceWith(picture(workspace.workspaceKind.icon.url, title));
  const path = `/workspaces/${namespace}/${workspace.name}`;
  const pause = (paused) => attempt(() => call("POST", path + "/actions/pause", { paused }));
  row.querySelector(".pause").onclick = () => pause(true);
  row.querySelector(".start").onclick = () => pause(false);
  row.querySelector(".logs").onclick = () => showLogs(workspace.name);
  row.querySelector(".delete").onclick = () => remove(workspace.name);
  row.querySelector(".keep").onclick = () => attempt(() => keep(workspace.name));
  return row;
}

/** What changes with time alone; what is the same is not touched. */
function updateActivity(row, workspace) {
  const kind = kindOf(workspace)?.displayName ?? workspace.workspaceKind.name;
  const { state, stateMessage } = workspace;
  const says = ["Running", "Paused"].includes(state) ? lastUsed(workspace) : stateMessage;
  const about = [kind, says].filter(Boolean).join(" · ");
  const warns = warning(workspace);
  for (const [place, text] of [[".what p", about], [".soon span", warns]]) {
    const node = row.querySelector(place);
    if (node.textContent !== text) node.textContent = text;
  }
  row.querySelector(".soon").hidden = !warns;
  row.querySelector(".keep").hidden = !pauses.has(workspace.name);
}

function updateRow(row, workspace) {
  updateActivity(row, workspace);
  // Only changes touch the page, so that focus and selection stay where they are.
  const seen = JSON.stringify([workspace, kinds.length]);
  if (row.dataset.seen === seen) return;
  row.dataset.seen = seen;
  const { state, paused } = workspace;
  row.className = state;
  row.querySelector("h3").textContent = workspace.displayName || workspace.name;
  row.querySelector(".word").textContent = LABELS[state] ?? state;
  const links = workspace.services.filter((service) => service.httpService).map(({ httpService }) => {
    const link = document.createElement("a");
    link.className = state === "Running" ? "button primary open" : "button open";
    link.href = httpService.httpPath;
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = workspace.services.length > 1 ? `Open ${httpService.displayName}` : "Open";
    return link;
  });
  row.querySelector(".services").replaceChildren(...(paused ? [] : links));
  row.querySelector(".pause").hidden = paused;
  row.querySelector(".start").hidden = !paused;
  row.querySelector(".start").disabled = state !== "Paused";
  row.querySelector(".logs").disabled = paused;
}

function render() {
  const rows = new Map([...$("list").children].map((row) => [row.dataset.name, row]));
  const wanted = workspaces.map((workspace) => {
    const row = rows.get(workspace.name) ?? makeRow(workspace);
    updateRow(row, workspace);
    return row;
  });
  if (wanted.length !== rows.size || wanted.some((row, index) => $("list").children[index] !== row)) {
    $("list").replaceChildren(...wanted);
  }
  const first = workspaces.length === 0;
  $("list-section").hidden = first;
  $("maker").hidden = !(first || making);
  $("new").hidden = first || making;
  $("cancel").hidden = first;
  $("maker-text").hidden = !first;
  $("maker-title").textContent = first ? "Make your first workspace" : "New workspace";
  suggestName();
}

// ---- a new one ----------------------------------------------------------------------------------

const chosenKind = () => kinds.find((kind) => kind.name === document.querySelector("#kinds input:checked")?.value);

function renderKinds() {
  const before = chosenKind()?.name;
  const cards = kinds.filter((kind) => !kind.hidden).map((kind, index) => {
    const card = document.createElement("label");
    card.className = "kind";
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "kind", value: kind.name });
    radio.checked = before ? before === kind.name : index === 0;
    radio.onchange = renderOptions;
    const title = Object.assign(document.createElement("b"), { textContent: kind.displayName });
    const text = Object.assign(document.createElement("span"), { textContent: kind.description });
    card.append(radio, picture(kind.icon.url, kind.displayName), title, text);
    return card;
  });
  $("kinds").replaceChildren($("kinds").querySelector("legend"), ...cards);
  renderOptions();
}

function fill(select, label, options) {
  const values = (options?.values ?? []).filter((value) => !value.hidden && !value.restrictions?.deny);
  select.replaceChildren(...values.map((value) => new Option(value.displayName, value.id)));
  if (values.some((value) => value.id === options.default)) select.value = options.default;
  label.hidden = values.length < 2;
}

function renderOptions() {
  const kind = chosenKind();
  fill($("image"), $("image-label"), kind?.podTemplate.options.imageConfig);
  fill($("pod"), $("pod-label"), kind?.podTemplate.options.podConfig);
  const note = kind?.deprecated ? kind.deprecationMessage || "This kind is deprecated." : "";
  $("option-note").textContent = note;
  $("option-note").hidden = !note;
  suggestName();
}

function suggestName() {
  const kind = chosenKind();
  if (!nameIsOurs || !kind) return;
  const base = kind.name.replace(/[^-a-z0-9]/g, "-").slice(0, 50);
  const taken = (name) => workspaces.some((workspace) => workspace.name === name) || claims.has(name + "-home");
  let number = 1;
  while (taken(`${base}-${number}`)) number += 1;
  $("name").value = `${base}-${number}`;
}

async function storageClass() {
  const classes = await call("GET", `/storageclasses?namespace=${namespace}`);
  const usable = classes.filter((item) => item.canUse);
  const chosen = usable.find((item) => item.isDefault) ?? usable[0];
  if (!chosen) throw new Error("There is no storage class that may be used for files.");
  return chosen.name;
}

async function create() {
  const name = $("name").value;
  const home = `${name}-home`;
  let isNew = true;
  try {
    await call("POST", `/persistentvolumeclaims/${namespace}`, {
      name: home, accessModes: ["ReadWriteOnce"], storageClassName: await storageClass(),
      requests: { storage: "10Gi" },
    });
  } catch (error) {
    if (error.status !== 409) throw error;
    isNew = false;
  }
  try {
    await call("POST", `/workspaces/${namespace}`, {
      name, kind: chosenKind().name,
      podTemplate: {
        volumes: { home },
        options: { imageConfig: $("image").value, podConfig: $("pod").value },
      },
    });
  } catch (error) {
    // The claim was only for this workspace; one that holds files of an earlier one stays.
    if (isNew) await call("DELETE", `/persistentvolumeclaims/${namespace}/${home}`).catch(() => {});
    throw error;
  }
  making = false;
  nameIsOurs = true;
  if (!isNew) tell(`${name} uses the files that were kept in ${home}.`);
}

// ---- logs, deletion -----------------------------------------------------------------------------

async function showLogs(name) {
  tell("");
  try {
    const text = await call("GET", `/workspaces/${namespace}/${name}/podtemplate/logs/batch`);
    $("logs-title").textContent = `Logs of ${name}`;
    $("logs").textContent = text || "Nothing was printed yet.";
    $("logs-dialog").showModal();
    $("logs").scrollTop = $("logs").scrollHeight;
  } catch (error) {
    tell(error.message, true);
  }
}

async function remove(name) {
  await attempt(async () => {
    const home = (await call("GET", `/workspaces/${namespace}/${name}`)).podTemplate.volumes.home;
    const dialog = $("delete-dialog");
    $("delete-title").textContent = `Delete ${name}?`;
    $("delete-files").checked = false;
    $("delete-files").parentElement.hidden = !home;
    $("delete-files-text").textContent = `Delete its files too (${home}). They cannot be brought back.`;
    dialog.returnValue = "cancel";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "delete") return;
    await call("DELETE", `/workspaces/${namespace}/${name}`);
    if (home && $("delete-files").checked) {
      await call("DELETE", `/persistentvolumeclaims/${namespace}/${home}`);
    }
  });
}

// ---- keeping up ---------------------------------------------------------------------------------

let silent = false; // whether the last round failed

/** What there is to know of those whose pause is near: the list does not say when exactly. */
async function nearPauses(list) {
  const near = list.filter((workspace) => warned(workspace) && workspace.activity.lastProbe?.result === "Success");
  const found = await Promise.all(near.map(async ({ name }) => {
    const details = await call("GET", `/workspaces/${namespace}/${name}/podtemplate/details`).catch(() => null);
    return [name, details?.culling?.secondsUntilPause];
  }));
  return new Map(found.filter(([, seconds]) => seconds !== undefined));
}

async function refresh() {
  clearTimeout(timer);
  try {
    const [list, kindList, claimList] = await Promise.all([
      call("GET", `/workspaces/${namespace}`),
      call("GET", `/workspacekinds?namespaceFilter=${namespace}`),
      call("GET", `/persistentvolumeclaims/${namespace}`),
    ]);
    pauses = await nearPauses(list);
    workspaces = list;
    claims = new Set(claimList.map((claim) => claim.name));
    const changed = JSON.stringify(kinds.map(({ clusterMetrics, ...kind }) => kind)) !==
      JSON.stringify(kindList.map(({ clusterMetrics, ...kind }) => kind));
    kinds = kindList;
    if (changed) renderKinds();
    render();
    if (silent) tell("");
    silent = false;
  } catch (error) {
    silent = true;
    tell(error.message, true);
  }
  clearTimeout(timer);
  const busy = workspaces.some((workspace) => BUSY.has(workspace.state));
  if (!document.hidden) timer = setTimeout(refresh, busy ? 700 : 3000);
}

async function begin() {
  ask("GET", "/hooks/endpoints", null, String).then(({ items }) => { $("webhooks").hidden = !items.length; }, () => {});
  try {
    // Those of the cluster itself are nobody's place for workspaces.
    const names = (await call("GET", "/namespaces")).map((item) => item.name).filter((name) => !name.startsWith("kube-"));
    if (!names.includes(namespace) && names.length) namespace = names[0];
    $("namespace").replaceChildren(...names.map((name) => new Option(name, name, false, name === namespace)));
    $("namespaces").hidden = names.length < 2;
  } catch { /* the list below says what is wrong */ }
  await refresh();
}

$("namespace").onchange = (event) => {
  namespace = event.target.value;
  $("list").replaceChildren();
  refresh();
};
$("new").onclick = () => { making = true; nameIsOurs = true; render(); $("name").focus(); };
$("cancel").onclick = () => { making = false; nameIsOurs = true; render(); };
$("name").oninput = () => { nameIsOurs = $("name").value === ""; };
$("form").onsubmit = async (event) => {
  event.preventDefault();
  $("create").disabled = true;
  await attempt(create);
  $("create").disabled = false;
};
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
begin();
