// The panel on the left: classes, tools, view and retrieval settings.

import { newId } from "./store.js";

const $ = (id) => document.getElementById(id);
const BRUSHES = { low: 1, high: 200 }; // pixels on a logarithmic scale
const SCALES = {
  neighbours: { low: 1, high: 200, step: 1, text: (value) => String(value) },
  temperature: { low: 0.005, high: 1, step: 0.001, text: (value) => value.toFixed(3) },
};

const toLog = (place, { low, high }) => low * (high / low) ** (place / 100);
const fromLog = (value, { low, high }) => (100 * Math.log(value / low)) / Math.log(high / low);

export class Panel extends EventTarget {
  constructor(store, look) {
    super();
    Object.assign(this, { store, look, timer: null, rows: new Map() });
    this.radios("tools", "tool", (tool) => this.setTool(tool));
    this.radios("views", "view", (view) => this.setView(view));
    $("size").addEventListener("input", () => this.setSize(toLog(Number($("size").value), BRUSHES)));
    $("opacity").addEventListener("input", () => this.setOpacity(Number($("opacity").value) / 100));
    $("strokes").addEventListener("change", () => this.setStrokes($("strokes").checked));
    $("add-class").addEventListener("submit", (event) => this.addClass(event));
    for (const name of Object.keys(SCALES)) $(name).addEventListener("input", () => this.slide(name));
  }

  changed(what) {
    this.dispatchEvent(new CustomEvent("look", { detail: what }));
  }

  // ---------------------------------------------------------------- tools and view
  radios(id, key, choose) {
    $(id).addEventListener("click", (event) => event.target.dataset[key] && choose(event.target.dataset[key]));
    $(id).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const buttons = [...$(id).children], next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
      next.focus();
      choose(next.dataset[key]);
    });
  }

  mark(id, key, value) {
    for (const button of $(id).children) {
      const chosen = button.dataset[key] === value;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
  }

  setTool(tool) {
    this.look.tool = tool;
    this.mark("tools", "tool", tool);
    $("canvas").classList.toggle("inspect", tool === "inspect");
    this.changed("tool");
  }

  setView(view) {
    this.look.view = view;
    this.mark("views", "view", view);
    $("legend").hidden = view !== "confidence";
    this.changed("view");
  }

  setSize(size) {
    this.look.size = Math.round(Math.min(Math.max(size, BRUSHES.low), BRUSHES.high) * 10) / 10;
    $("size").value = fromLog(this.look.size, BRUSHES);
    $("size-value").textContent = `${this.look.size.toFixed(0)} px`;
    this.changed("size");
  }

  setOpacity(opacity) {
    this.look.opacity = opacity;
    $("opacity").value = 100 * opacity;
    $("opacity-value").textContent = `${Math.round(100 * opacity)} %`;
    this.changed("view");
  }

  setStrokes(shown) {
    this.look.strokes = $("strokes").checked = shown;
    this.changed("view");
  }

  // ---------------------------------------------------------------- retrieval
  slide(name) {
    const scale = SCALES[name];
    const value = Math.round(toLog(Number($(name).value), scale) / scale.step) * scale.step;
    this.store.settings[name] = Number(value.toFixed(3));
    $(`${name}-value`).textContent = scale.text(this.store.settings[name]);
    this.sliding = { ...this.sliding, [name]: this.store.settings[name] };
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.store.change({ type: "settings", ...this.sliding });
      this.sliding = {};
    }, 120);
  }

  showSettings() {
    for (const [name, scale] of Object.entries(SCALES)) {
      const value = this.sliding?.[name] ?? this.store.settings[name];
      if (value === undefined) continue;
      $(`${name}-value`).textContent = scale.text(value);
      if (document.activeElement !== $(name)) $(name).value = fromLog(value, scale);
    }
  }

  // ---------------------------------------------------------------- classes
  async addClass(event) {
    event.preventDefault();
    const name = $("class-name").value.trim(), id = newId();
    if (!name) return $("class-name").focus();
    try {
      await this.store.ask({ type: "class.add", id, name });
      $("class-name").value = "";
      this.choose(id);
    } catch (error) {
      this.dispatchEvent(new CustomEvent("message", { detail: { text: error.message } }));
    }
  }

  async edit(event) {
    try {
      await this.store.ask(event);
      return true;
    } catch (error) {
      this.dispatchEvent(new CustomEvent("message", { detail: { text: error.message } }));
      this.showClasses();
      return false;
    }
  }

  choose(id) {
    this.look.classId = id;
    if (this.look.tool === "eraser" || this.look.tool === "inspect") this.setTool("brush");
    this.showClasses();
    this.changed("class");
  }

  chooseNumber(number) {
    const entry = this.store.shownClasses[number];
    if (entry) this.choose(entry.id);
  }

  showClasses() {
    const classes = this.store.shownClasses;
    if (!classes.some((entry) => entry.id === this.look.classId)) this.look.classId = classes[0]?.id;
    this.look.colour = this.store.classes.get(this.look.classId)?.colour || "#888888";
    // Rows are kept from one time to the next, so that focus and double clicks survive.
    for (const [id, row] of this.rows) {
      if (classes.some((entry) => entry.id === id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    for (const [number, entry] of classes.entries()) {
      if (!this.rows.has(entry.id)) this.rows.set(entry.id, this.row(entry.id));
      const row = this.rows.get(entry.id);
      if ($("classes").children[number] !== row) $("classes").insertBefore(row, $("classes").children[number] || null);
      this.fill(row, entry, number);
    }
  }

  row(id) {
    const row = document.createElement("li"), name = document.createElement("span"), colour = document.createElement("input");
    row.dataset.class = id;
    row.setAttribute("role", "radio");
    row.title = "Double-click to rename";
    name.className = "name";
    colour.type = "color";
    colour.addEventListener("change", () => this.edit({ type: "class.edit", id, colour: colour.value }));
    colour.addEventListener("click", (event) => event.stopPropagation());
    const rename = this.act("✎", () => this.rename(row, id)), remove = this.act("×", () => this.removeClass(id));
    row.append(colour, name, rename, remove, document.createElement("kbd"));
    row.addEventListener("click", () => this.choose(id));
    row.addEventListener("dblclick", () => this.rename(row, id));
    row.addEventListener("keydown", (event) => this.rowKey(event, row, id));
    return row;
  }

  fill(row, entry, number) {
    const [colour, name, rename, remove, key] = row.children, chosen = entry.id === this.look.classId;
    row.setAttribute("aria-checked", String(chosen));
    row.setAttribute("aria-label", entry.name);
    row.tabIndex = chosen ? 0 : -1;
    if (name.tagName === "SPAN") name.textContent = entry.name;
    if (document.activeElement !== colour) colour.value = entry.colour || "#888888";
    for (const [element, title] of [[colour, "Colour of"], [rename, "Rename"], [remove, "Remove"]]) {
      element.title = `${title} ${entry.name}`;
      element.setAttribute("aria-label", element.title);
    }
    key.textContent = String(number + 1);
    key.hidden = number >= 9;
  }

  rowKey(event, row, id) {
    if (event.target !== row) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const classes = this.store.shownClasses, place = classes.findIndex((entry) => entry.id === id) + step;
      if (classes[place]) this.choose(classes[place].id);
      document.querySelector(`#classes [aria-checked="true"]`)?.focus();
    } else if (event.key === "Enter" || event.key === " ") this.choose(id);
    else if (event.key === "F2") this.rename(row, id);
    else if (event.key === "Delete") this.removeClass(id);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  act(text, run) {
    const button = Object.assign(document.createElement("button"), { className: "act", textContent: text, tabIndex: -1 });
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      run();
    });
    return button;
  }

  rename(row, id) {
    const entry = this.store.classes.get(id), name = row.querySelector(".name");
    if (!entry || !name) return;
    const input = Object.assign(document.createElement("input"), { className: "rename", value: entry.name, maxLength: 60 });
    input.setAttribute("aria-label", `New name of ${entry.name}`);
    name.replaceWith(input);
    input.select();
    input.focus();
    let done = false;
    const finish = (keep) => {
      if (done) return;
      done = true;
      const text = input.value.trim();
      input.replaceWith(name);
      if (keep && text && text !== entry.name) this.edit({ type: "class.edit", id, name: text });
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") finish(false);
    });
    input.addEventListener("click", (event) => event.stopPropagation());
    input.addEventListener("blur", () => finish(true));
  }

  async removeClass(id) {
    const { name } = this.store.classes.get(id), undo = () => this.edit({ type: "class.remove", id, removed: false });
    if (!(await this.edit({ type: "class.remove", id }))) return;
    this.dispatchEvent(new CustomEvent("message", { detail: { text: `Removed the class ${name} and its strokes.`, action: "Undo", run: undo } }));
  }
}

