// The large image: zooms, moves, and turns the pointer into strokes or into questions about a pixel.

import { newId } from "./store.js";
import { draw, labelsOf, paintedStrokes, photo, valueOf } from "./picture.js";

export class Editor extends EventTarget {
  constructor(canvas, store, look) {
    super();
    Object.assign(this, { canvas, store, look, image: null, stroke: null, moving: null, space: false, boxes: [], pointer: null });
    this.view = { scale: 1, x: 0, y: 0, fitted: true };
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  show(image) {
    if (image === this.image) return this.redraw();
    this.image = image;
    this.stroke = null;
    this.boxes = [];
    this.view.fitted = true;
    if (image) photo(this.store, image, "view").addEventListener("load", () => this.redraw(), { once: true });
    this.resize();
  }

  // ---------------------------------------------------------------- geometry
  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.width = Math.max(box.width, 1);
    this.height = Math.max(box.height, 1);
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    if (this.view.fitted) this.fit();
    this.redraw();
  }

  fit() {
    if (!this.image) return;
    const scale = Math.min((this.width - 16) / this.image.width, (this.height - 16) / this.image.height);
    const x = (this.width - scale * this.image.width) / 2, y = (this.height - scale * this.image.height) / 2;
    this.view = { scale, x, y, fitted: true };
    this.redraw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(Math.max(this.view.scale * factor, 0.02), 40), real = scale / this.view.scale;
    this.view = { scale, x: x - (x - this.view.x) * real, y: y - (y - this.view.y) * real, fitted: false };
    this.redraw();
  }

  wheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
  }

  toImage(event) {
    const box = this.canvas.getBoundingClientRect(), round = (value) => Math.round(value * 10) / 10;
    return [
      round((event.clientX - box.left - this.view.x) / this.view.scale),
      round((event.clientY - box.top - this.view.y) / this.view.scale),
    ];
  }

  inside([x, y]) {
    return this.image && x >= 0 && y >= 0 && x < this.image.width && y < this.image.height;
  }

  // ---------------------------------------------------------------- the pointer
  down(event) {
    if (!this.image) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    const at = this.toImage(event);
    if (this.pointers.size > 1 || event.button === 1 || this.space) {
      this.cancel();
      this.moving = { x: event.clientX, y: event.clientY };
      this.canvas.classList.add("moving");
      return;
    }
    if (event.button !== 0) return;
    if (this.look.tool === "inspect") return this.ask(at, true);
    const chosen = this.look.classId;
    if (this.look.tool !== "eraser" && valueOf(this.store, chosen) === undefined) return this.tell("no-class");
    const tool = this.look.tool, size = Math.min(Math.max(this.look.size, 0.5), 2000);
    this.stroke = { id: newId(), tool, class: tool === "eraser" ? "" : chosen, size, points: [...at] };
    this.paint(at, at);
  }

  move(event) {
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, event);
    this.pointer = event;
    if (this.moving) {
      this.view.x += event.clientX - this.moving.x;
      this.view.y += event.clientY - this.moving.y;
      this.view.fitted = false;
      this.moving = { x: event.clientX, y: event.clientY };
      return this.redraw();
    }
    if (this.stroke) {
      const events = event.getCoalescedEvents?.() || [];
      for (const each of events.length ? events : [event]) this.extend(this.toImage(each));
    } else if (event.pointerType !== "touch") {
      this.ask(this.toImage(event), false);
    }
    this.redraw();
  }

  extend(at) {
    const points = this.stroke.points, [x, y] = points.slice(-2);
    if (points.length >= 30000 || Math.hypot(at[0] - x, at[1] - y) < Math.max(0.5, this.stroke.size / 12)) return;
    points.push(...at);
    this.paint([x, y], at);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.moving = null;
    this.canvas.classList.remove("moving");
    const stroke = this.stroke;
    this.stroke = null;
    if (!stroke || event.type === "pointercancel") return this.cancel(stroke);
    this.image.labels = null; // painted again as a whole, exactly as the server does
    if (stroke.tool === "fill" && stroke.points.length < 6) return this.tell("small-fill");
    this.dispatchEvent(new CustomEvent("stroke", { detail: { image: this.image, stroke } }));
    this.redraw();
  }

  cancel(stroke = this.stroke) {
    this.stroke = null;
    if (stroke && this.image) this.image.labels = null;
    this.redraw();
  }

  leave() {
    this.pointer = null;
    this.redraw();
    this.dispatchEvent(new CustomEvent("leave"));
  }

  ask(at, click) {
    if (this.inside(at)) this.dispatchEvent(new CustomEvent("ask", { detail: { image: this.image, x: Math.floor(at[0]), y: Math.floor(at[1]), click } }));
    else this.dispatchEvent(new CustomEvent("leave"));
  }

  tell(what) {
    this.dispatchEvent(new CustomEvent("tell", { detail: what }));
  }

  paint(from, to) {
    if (this.stroke.tool === "fill") return this.redraw();
    const value = this.stroke.tool === "eraser" ? 255 : valueOf(this.store, this.stroke.class);
    const changed = labelsOf(this.store, this.image).paintSegment(...from, ...to, this.stroke.size / 2, value);
    paintedStrokes(this.store, this.image, this.look.colours, this.look.colourKey, changed);
    this.redraw();
  }

  // ---------------------------------------------------------------- drawing
  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.render();
    });
  }

  render() {
    const context = this.canvas.getContext("2d"), { scale, x, y } = this.view, image = this.image;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (!image) return;
    const place = { x, y, width: image.width * scale, height: image.height * scale };
    const strokes = this.look.strokes || this.stroke !== null;
    draw(context, this.store, image, place, { ...this.look, kind: "view", strokes, painting: this.stroke !== null });
    for (const box of this.boxes) this.frame(context, box.box, box.colour, 2);
    if (this.stroke?.tool === "fill") this.outline(context);
    this.brush(context);
  }

  frame(context, [top, left, bottom, right], colour, width) {
    const { scale, x, y } = this.view;
    for (const [style, line] of [["#000a", width + 2], [colour, width]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale);
    }
  }

  outline(context) {
    const { scale, x, y } = this.view, points = this.stroke.points;
    context.beginPath();
    for (let i = 0; i < points.length; i += 2) context.lineTo(x + points[i] * scale, y + points[i + 1] * scale);
    context.closePath();
    context.fillStyle = `${this.look.colour}88`;
    context.fill();
    context.strokeStyle = this.look.colour;
    context.lineWidth = 2;
    context.stroke();
  }

  brush(context) {
    const { tool, size, colour } = this.look;
    if (!this.pointer || this.pointer.pointerType === "touch" || tool === "inspect" || tool === "fill") return;
    const box = this.canvas.getBoundingClientRect();
    const x = this.pointer.clientX - box.left, y = this.pointer.clientY - box.top;
    for (const [style, width] of [["#000b", 3], [tool === "eraser" ? "#fff" : colour, 1.5]]) {
      context.beginPath();
      context.arc(x, y, Math.max((size * this.view.scale) / 2, 1.5), 0, 2 * Math.PI);
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke();
    }
  }
}
