// Why a pixel has its class: the patches of annotated images that decided, asked for while the pointer rests or moves.

import { getJson } from "./api.js";
import { photo } from "./picture.js";

const POINT = matchMedia("(hover: none)").matches
  ? "Choose Inspect and tap a pixel to see the annotated patches that decided its class."
  : "Point at a pixel to see the annotated patches that decided its class.";
const SHOWN = 8, EVERY = 90; // patches; milliseconds between two questions

export class Explanation extends EventTarget {
  constructor(root, store) {
    super();
    Object.assign(this, { root, store, asked: null, next: null, timer: null, pinned: false });
    this.clear();
  }

  ask(question) {
    if (this.pinned && !question.click) return;
    this.pinned = question.click;
    this.next = question;
    if (!this.timer) this.run();
  }

  async run() {
    const question = this.next;
    this.next = null;
    if (!question) {
      this.timer = null;
      return;
    }
    this.timer = setTimeout(() => this.run(), EVERY);
    this.asked?.abort();
    const mine = (this.asked = new AbortController());
    try {
      const { image, x, y } = question;
      const path = `${this.store.base}/explain?image=${image.id}&x=${x}&y=${y}`;
      const answer = await getJson(path, { signal: mine.signal });
      if (mine === this.asked) this.show(question, answer.neighbours);
    } catch (error) {
      if (error.name !== "AbortError" && mine === this.asked) this.clear(question.click ? error.message : "");
    }
  }

  leave() {
    this.next = null;
    if (this.pinned) return;
    this.asked?.abort();
    this.clear();
  }

  release() {
    this.pinned = false;
    this.leave();
  }

  clear(message = "") {
    const text = document.createElement("p");
    text.textContent = message || POINT;
    this.root.replaceChildren(text);
    this.dispatchEvent(new CustomEvent("boxes", { detail: { boxes: new Map(), at: null } }));
  }

  show(question, neighbours) {
    if (!neighbours.length) return this.clear();
    const byValue = new Map([...this.store.classes.values()].map((entry) => [entry.value, entry]));
    const weights = new Map();
    for (const near of neighbours) weights.set(near.value, (weights.get(near.value) || 0) + near.weight);
    const best = [...weights].sort((a, b) => b[1] - a[1])[0];
    const decided = document.createElement("div"), name = document.createElement("b");
    decided.className = "decided";
    name.textContent = byValue.get(best[0])?.name ?? `class ${best[0]}`;
    name.style.color = "var(--text)";
    const details = document.createElement("span");
    details.textContent = `nearest patch: similarity ${neighbours[0].similarity.toFixed(2)}`;
    decided.append(name, details);
    const boxes = new Map();
    const shown = neighbours.slice(0, SHOWN).map((near) => {
      const entry = byValue.get(near.value), colour = entry?.colour || "#888";
      if (!boxes.has(near.image)) boxes.set(near.image, []);
      boxes.get(near.image).push({ box: near.box, colour: "#fff" });
      return this.patch(near, entry?.name || "", colour);
    });
    this.root.replaceChildren(decided, ...shown);
    this.dispatchEvent(new CustomEvent("boxes", { detail: { boxes, at: question } }));
  }

  patch(near, name, colour) {
    const root = document.createElement("button"), canvas = document.createElement("canvas"), text = document.createElement("span");
    const image = this.store.images.get(near.image);
    root.className = "patch";
    root.title = `${name}: ${image?.name}; weight ${(100 * near.weight).toFixed(1)} %, similarity ${near.similarity.toFixed(3)}`;
    Object.assign(canvas, { width: 120, height: 120 });
    canvas.style.borderColor = colour;
    text.textContent = `${(100 * near.weight).toFixed(0)} % ${name}`;
    if (image) this.crop(canvas, image, near.box);
    root.append(canvas, text);
    root.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: { image } })));
    return root;
  }

  // Draws the patch with as much around it, so that one recognises the place.
  crop(canvas, image, [top, left, bottom, right]) {
    const picture = photo(this.store, image, "view"), side = 3 * Math.max(bottom - top, right - left);
    const paint = () => {
      const scale = picture.naturalWidth / image.width, context = canvas.getContext("2d");
      const x = (left + right - side) / 2, y = (top + bottom - side) / 2, zoom = canvas.width / side;
      context.fillStyle = "#555";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(picture, x * scale, y * scale, side * scale, side * scale, 0, 0, canvas.width, canvas.height);
      context.lineWidth = 3;
      context.strokeStyle = "#fff";
      context.strokeRect((left - x) * zoom, (top - y) * zoom, (right - left) * zoom, (bottom - top) * zoom);
    };
    if (picture.complete && picture.naturalWidth) paint();
    else picture.addEventListener("load", paint, { once: true });
  }
}
