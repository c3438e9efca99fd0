// Puts the page together: session, stage, overview, panel, messages and keys.

import { Gone, Refused, postFile, postJson, getJson } from "./api.js";
import { Editor } from "./editor.js";
import { Explanation } from "./explain.js";
import { Panel } from "./panel.js";
import { labelsOf, loadBase, palette } from "./picture.js";
import { Predictor } from "./predictor.js";
import { Store } from "./store.js";
import { Tiles } from "./tiles.js";

const $ = (id) => document.getElementById(id);
const look = {
  tool: "brush", size: 14, opacity: 0.55, view: "classes", strokes: true, classId: null, colour: "#888888",
  colours: new Uint8Array(768), colourKey: "", waiting: () => false,
};
let store, predictor, editor, tiles, panel, explanation;
const undone = new Map(); // {image id: [strokes that Undo removed]}

// ---------------------------------------------------------------- sessions
let remembered = "session"; // where the browser keeps it; a server with another --prompt opens another one

function remember(id) {
  localStorage.setItem(remembered, id);
  history.replaceState(null, "", `/?session=${id}`);
}

async function openSession() {
  remembered = `session ${(await getJson("/api/opening")).opening}`;
  const wanted = new URLSearchParams(location.search).get("session") || localStorage.getItem(remembered);
  if (wanted) {
    store = new Store(wanted);
    try {
      await store.load();
      return remember(wanted);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say({ text: `${error.message[0].toUpperCase()}${error.message.slice(1)}` });
    }
  }
  const { id } = await postJson("/api/sessions", {});
  store = new Store(id);
  await store.load();
  remember(id);
}

async function newSession() {
  try {
    const { id } = await postJson("/api/sessions", { empty: true });
    localStorage.setItem(remembered, id);
    location.href = `/?session=${id}`;
  } catch (error) {
    say({ text: error.message });
  }
}

// ---------------------------------------------------------------- messages
function say({ text, action, run }) {
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.append(Object.assign(document.createElement("span"), { textContent: text }));
  const close = () => toast.remove();
  if (action) {
    const button = Object.assign(document.createElement("button"), { textContent: action });
    button.addEventListener("click", () => {
      close();
      run();
    });
    toast.append(button);
  }
  $("toasts").append(toast);
  while ($("toasts").children.length > 3) $("toasts").firstChild.remove();
  setTimeout(close, action ? 9000 : 6500);
}

function hint() {
  const images = store.shownImages, classes = store.shownClasses, text = $("hint");
  const annotated = images.filter((image) => image.strokes.size || image.labelled).length;
  const named = (value) => classes.find((entry) => entry.value === value)?.name;
  let parts;
  if (!images.length) parts = [""];
  else if (!classes.length) parts = ["Name two classes on the left to begin, such as ", ["sky"], " and ", ["tree"], "."];
  else if (classes.length === 1) parts = ["Name a second class: with one alone, every pixel belongs to it."];
  else if (!annotated) parts = ["Choose a class and paint a stroke on any image."];
  else if (predictor.values?.length === 1) parts = ["Only ", [named(predictor.values[0]) || "one class"], " has strokes, so every pixel belongs to it. Paint another class."];
  else if (images.every((image) => image.example)) parts = ["Strokes on ", [`${annotated} images`], " label the others. Paint to correct them, or drop images of your own."];
  else if (annotated === images.length) parts = ["All images are annotated. Drop those that you want labelled."];
  else parts = [[`${annotated} of ${images.length}`], " images annotated. Paint where the prediction is wrong."];
  text.replaceChildren(...parts.map((part) => (Array.isArray(part) ? Object.assign(document.createElement("b"), { textContent: part[0] }) : part)));
}

// ---------------------------------------------------------------- what is shown
function recolour() {
  look.colours = palette(store.shownClasses);
  look.colourKey = look.colours.join();
}

function choose(image) {
  if (image?.removed) image = null;
  image ??= store.shownImages[0] ?? null;
  $("name").textContent = image?.name ?? "";
  $("empty").hidden = Boolean(image);
  $("explain").style.visibility = image ? "visible" : "hidden";
  $("caption").style.visibility = image ? "visible" : "hidden";
  if (image !== editor.image) explanation.release();
  editor.show(image);
  tiles.setCurrent(image);
  showUndo();
  predictor.update();
}

function step(by) {
  const images = store.shownImages, place = images.indexOf(editor.image);
  if (images.length) choose(images[(place + by + images.length) % images.length]);
}

function showUndo() {
  const image = editor.image;
  $("undo").disabled = $("clear").disabled = !image?.strokes.size;
  $("redo").disabled = !undone.get(image?.id)?.length;
}

function refresh() {
  recolour();
  panel.showClasses();
  panel.showSettings();
  tiles.sync();
  if (!editor.image || editor.image.removed || !store.images.has(editor.image.id)) choose(null);
  editor.redraw();
  showUndo();
  hint();
  for (const image of store.shownImages) {
    if (image.labelled && !image.base && !image.asked) {
      image.asked = true;
      loadBase(store, image).then(() => redraw(image), (error) => say({ text: error.message }));
    }
  }
  $("count").textContent = store.shownImages.length || "";
}

let refreshing = false;
function refreshSoon() {
  if (refreshing) return;
  refreshing = true;
  queueMicrotask(() => {
    refreshing = false;
    refresh();
  });
}

function redraw(image) {
  tiles.redraw(image);
  if (image === editor.image) editor.redraw();
}

function showProgress(detail) {
  if (detail?.seconds && !predictor.error) $("status").textContent = `updated in ${detail.seconds.toFixed(2)} s`;
  else if (predictor.busy) $("status").textContent = "updating …";
  if (predictor.error) {
    say({ text: predictor.error });
    $("status").textContent = "";
  }
  for (const image of store.shownImages) tiles.redraw(image);
  hint();
}

// ---------------------------------------------------------------- strokes
function addStroke({ image, stroke }) {
  undone.delete(image.id);
  store.change({ type: "stroke.add", image: image.id, stroke });
}

function undo() {
  const image = editor.image, last = image && [...image.strokes.values()].pop();
  if (!last) return;
  undone.set(image.id, [...(undone.get(image.id) || []), [last]]);
  store.change({ type: "stroke.remove", image: image.id, ids: [last.id] });
}

function redo() {
  const image = editor.image, strokes = undone.get(image?.id)?.pop();
  for (const { order, ...stroke } of strokes || []) store.change({ type: "stroke.add", image: image.id, stroke });
}

function clear() {
  const image = editor.image;
  if (!image?.strokes.size) return;
  const strokes = [...image.strokes.values()];
  store.change({ type: "stroke.remove", image: image.id, ids: strokes.map((stroke) => stroke.id) });
  undone.set(image.id, [strokes]);
  say({ text: `Removed ${strokes.length} strokes from ${image.name}.`, action: "Undo", run: () => { choose(image); redo(); } });
}

// ---------------------------------------------------------------- images
async function addFiles(files) {
  const list = [...files];
  let added = 0, last = null;
  const examples = store.shownImages.filter((image) => image.example);
  for (const [number, file] of list.entries()) {
    if (list.length > 1) $("status").textContent = `adding ${number + 1} of ${list.length}`;
    if (file.size > store.limits.bytes) {
      say({ text: `${file.name} has ${(file.size / 1e6).toFixed(0)} MB; at most ${store.limits.bytes / 1e6} are accepted.` });
      continue;
    }
    try {
      last = (await postFile(`${store.base}/images?name=${encodeURIComponent(file.name)}`, file)).id;
      added += 1;
    } catch (error) {
      say({ text: error.message });
      if (error instanceof Gone) break;
    }
  }
  if (!added) return;
  await store.catchUp(0);
  choose(store.images.get(last));
  const text = added === 1 ? "Added 1 image." : `Added ${added} images.`;
  if (examples.length) say({ text, action: "Remove the examples", run: () => removeExamples(examples) });
  else say({ text });
}

function removeExamples(examples) {
  for (const image of examples) store.change({ type: "image.remove", id: image.id });
  const used = new Set(store.shownImages.flatMap((image) => [...image.strokes.values()].map((stroke) => stroke.class)));
  for (const entry of store.shownClasses) {
    if (entry.id.startsWith("scene") && !used.has(entry.id)) store.change({ type: "class.remove", id: entry.id });
  }
}

function removeImage(image) {
  store.change({ type: "image.remove", id: image.id });
  const restore = () => store.change({ type: "image.remove", id: image.id, removed: false });
  say({ text: `Removed ${image.name}.`, action: "Undo", run: restore });
}

// ---------------------------------------------------------------- dialogs
async function openExport() {
  $("masks").href = `${store.base}/masks.zip`;
  $("prompt").href = `${store.base}/prompt.npz`;
  $("command").textContent = "…";
  $("export-dialog").showModal();
  try {
    const { command } = await getJson(`${store.base}/command`);
    $("command").textContent = command;
  } catch (error) {
    $("command").textContent = error.message;
  }
}

async function copyCommand() {
  const text = $("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("command"));
    $("copy").textContent = "Press Ctrl+C";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
}

function openAbout() {
  $("about-name").textContent = store.about.name;
  $("about-note").textContent = store.about.note;
  $("about-workdir").textContent = store.about.workdir;
  $("about-dialog").showModal();
}

// ---------------------------------------------------------------- keys
const KEYS = {
  b: () => panel.setTool("brush"), f: () => panel.setTool("fill"), e: () => panel.setTool("eraser"), i: () => panel.setTool("inspect"),
  "[": () => panel.setSize(look.size / 1.25), "]": () => panel.setSize(look.size * 1.25),
  v: () => panel.setView({ classes: "confidence", confidence: "photo", photo: "classes" }[look.view]),
  h: () => panel.setStrokes(!look.strokes), n: () => $("class-name").focus(),
  "+": () => editor.zoom(1.25), "=": () => editor.zoom(1.25), "-": () => editor.zoom(0.8), 0: () => editor.fit(),
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), "?": () => $("help-dialog").showModal(), Escape: () => { editor.cancel(); explanation.release(); },
};

function onKey(event) {
  if (document.querySelector("dialog[open]")) return;
  const field = event.target.matches?.("input:not([type=checkbox]):not([type=range]):not([type=color]), textarea");
  if (field) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    return event.shiftKey ? redo() : undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target === $("canvas")) {
    editor.space = true;
    return event.preventDefault();
  }
  if (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (/^[1-9]$/.test(event.key)) return panel.chooseNumber(Number(event.key) - 1);
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!KEYS[key]) return;
  event.preventDefault();
  KEYS[key]();
}

// ---------------------------------------------------------------- start
function connect() {
  store.addEventListener("loaded", refreshSoon);
  store.addEventListener("changed", refreshSoon);
  store.addEventListener("loaded", () => predictor.update());
  store.addEventListener("synced", () => predictor.update());
  store.addEventListener("message", (event) => say(event.detail));
  store.addEventListener("online", () => {
    $("banner").hidden = store.online;
    $("banner").textContent = "The server does not answer. What you paint is kept here, and sent as soon as it is back.";
    if (store.online) predictor.update();
  });
  predictor.addEventListener("mask", (event) => redraw(event.detail.image));
  predictor.addEventListener("progress", (event) => showProgress(event.detail));
  editor.addEventListener("stroke", (event) => addStroke(event.detail));
  editor.addEventListener("ask", (event) => predictor.values?.length && explanation.ask(event.detail));
  editor.addEventListener("leave", () => explanation.leave());
  editor.addEventListener("tell", (event) => say({ text: { "no-class": "Name a class first (N).", "small-fill": "Draw around an area to fill it." }[event.detail] }));
  explanation.addEventListener("boxes", ({ detail }) => {
    editor.boxes = detail.boxes.get(editor.image?.id) || [];
    editor.redraw();
    tiles.setBoxes(detail.boxes);
  });
  for (const source of [explanation, tiles]) source.addEventListener("choose", (event) => choose(event.detail.image));
  tiles.addEventListener("remove", (event) => removeImage(event.detail.image));
  panel.addEventListener("message", (event) => say(event.detail));
  panel.addEventListener("look", (event) => {
    if (event.detail === "tool") explanation.release();
    if (event.detail === "view") tiles.redrawAll();
    editor.redraw();
  });
  for (const id of ["open", "open-empty"]) $(id).addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => addFiles($("files").files).then(() => ($("files").value = "")));
  const clicks = { undo, redo, clear, export: openExport, copy: copyCommand, about: openAbout, new: newSession, help: KEYS["?"], zoom: KEYS[0], previous: () => step(-1), next: () => step(1) };
  for (const [id, run] of Object.entries(clicks)) $(id).addEventListener("click", run);
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", (event) => event.key === " " && (editor.space = false));
  let inside = 0;
  addEventListener("dragenter", () => ($("drop").hidden = !(inside += 1)));
  addEventListener("dragleave", () => ($("drop").hidden = !(inside -= 1)));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    $("drop").hidden = true;
    addFiles(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData.files.length && addFiles(event.clipboardData.files));
}

async function start() {
  try {
    await openSession();
  } catch (error) {
    $("banner").hidden = false;
    $("banner").textContent = `${error.message}. Trying again …`;
    return setTimeout(() => location.reload(), 3000);
  }
  predictor = new Predictor(store);
  predictor.current = () => editor?.image;
  look.waiting = (image) => predictor.busy && predictor.values?.length !== 0 && image.mask?.revision !== store.effective;
  editor = new Editor($("canvas"), store, look);
  tiles = new Tiles($("tiles"), store, look);
  explanation = new Explanation($("explain"), store);
  panel = new Panel(store, look);
  connect();
  panel.setTool(look.tool);
  panel.setView(look.view);
  panel.setSize(look.size);
  panel.setOpacity(look.opacity);
  $("about").textContent = store.about.name;
  refresh();
  choose(null);
  store.listen();
  // What the tests look at.
  window.hummingbird = { store, predictor, editor, look, labels: (id) => labelsOf(store, store.images.get(id)), mask: (id) => store.images.get(id).mask };
}

start();
