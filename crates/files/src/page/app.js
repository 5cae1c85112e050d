"use strict";
// The folder shown is the fragment of the address: #/a/b, its parts percent-encoded.

const $ = (id) => document.getElementById(id);
const here = () => location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
const shown = (part) => { try { return decodeURIComponent(part); } catch { return part; } };
const join = (parts) => parts.map((part) => "/" + part).join("");

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function tell(text, bad = false) {
  $("notice").textContent = text;
  $("notice").className = bad ? "bad" : "";
  $("notice").hidden = !text;
}

async function call(method, path, body, headers) {
  let response;
  try {
    response = await fetch(path, { method, body, headers });
  } catch {
    throw new Error("The workspace does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try { message = JSON.parse(text).error.message; } catch { /* not one of ours */ }
  throw new Error(message || `The workspace answered ${response.status}.`);
}

async function attempt(work) {
  tell("");
  try { await work(); } catch (error) { tell(error.message, true); }
}

function size(bytes) {
  if (bytes === undefined) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function crumbs() {
  const parts = here();
  const nodes = [element("a", { href: "#/", textContent: "Home" })];
  parts.forEach((part, index) => nodes.push(
    element("span", { className: "sep", textContent: "/" }),
    element("a", { href: "#" + join(parts.slice(0, index + 1)), textContent: shown(part) })));
  $("crumbs").replaceChildren(...nodes);
}

function row(entry) {
  const path = [...here(), entry.href];
  const file = "api/files" + join(path);
  const name = element("a", { textContent: entry.name });
  if (entry.kind === "folder") name.href = "#" + join(path);
  if (entry.kind === "file") { name.href = file; name.target = "_blank"; name.rel = "noopener"; }
  const actions = element("td");
  if (entry.kind === "file") {
    actions.append(element("a", { className: "button", href: file + "?download", textContent: "Download" }));
  }
  actions.append(
    element("button", { type: "button", textContent: "Rename", onclick: () => rename(entry, path) }),
    element("button", { type: "button", textContent: "Delete", onclick: () => remove(entry, path) }));
  return element("tr", { className: entry.kind },
    element("td", {}, name),
    element("td", { className: "size", textContent: size(entry.size) }),
    element("td", { className: "when", textContent: new Date(entry.modified).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) }),
    actions);
}

async function show() {
  crumbs();
  try {
    const listing = await (await call("GET", "api/list/" + here().join("/"))).json();
    $("entries").replaceChildren(...listing.entries.map(row));
    $("empty").hidden = listing.entries.length > 0;
    $("truncated").hidden = !listing.truncated;
  } catch (error) {
    $("entries").replaceChildren();
    tell(error.message, true);
  }
}

function ask({ label, value, text, ok }) {
  $("ask-label").textContent = label;
  $("ask-name").hidden = value === undefined;
  $("ask-name").required = value !== undefined;
  $("ask-name").value = value ?? "";
  $("ask-text").textContent = text ?? "";
  $("ask-ok").textContent = ok;
  $("ask").returnValue = "cancel";
  $("ask").showModal();
  if (value !== undefined) $("ask-name").select();
  return new Promise((resolve) => $("ask").addEventListener("close", () =>
    resolve($("ask").returnValue === "ok" ? $("ask-name").value || true : null), { once: true }));
}

async function rename(entry, path) {
  const name = await ask({ label: "New name", value: entry.name, ok: "Rename" });
  if (!name || name === entry.name) return;
  await attempt(async () => {
    const to = [...path.slice(0, -1), encodeURIComponent(name)];
    await call("POST", "api/rename", JSON.stringify({ from: path.join("/"), to: to.join("/") }),
      { "Content-Type": "application/json" });
    await show();
  });
}

async function remove(entry, path) {
  const folder = entry.kind === "folder";
  const sure = await ask({
    label: `Delete “${entry.name}”?`, ok: "Delete",
    text: folder ? "Everything in the folder goes with it." : "This cannot be undone.",
  });
  if (!sure) return;
  await attempt(async () => {
    await call("DELETE", "api/files" + join(path) + (folder ? "?recursive" : ""));
    await show();
  });
}

async function upload(files) {
  await attempt(async () => {
    let done = 0;
    for (const file of files) {
      tell(`Uploading ${file.name} (${done + 1} of ${files.length}) …`);
      await call("PUT", "api/files" + join([...here(), encodeURIComponent(file.name)]), file);
      done += 1;
    }
    tell(done === 1 ? `${files[0].name} is uploaded.` : `${done} files are uploaded.`);
    await show();
  });
}

$("new-folder").onclick = async () => {
  const name = await ask({ label: "New folder", value: "", ok: "Make folder" });
  if (!name) return;
  await attempt(async () => {
    await call("POST", "api/folders" + join([...here(), encodeURIComponent(name)]));
    await show();
  });
};
$("pick").onchange = async (event) => {
  await upload([...event.target.files]);
  event.target.value = "";
};
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  upload([...event.dataTransfer.files]);
};
window.onhashchange = () => { tell(""); show(); };
show();
