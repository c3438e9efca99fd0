// The overview: all images with their predictions; a click brings one to the stage.

import { draw, photo } from "./picture.js";

export class Tiles extends EventTarget {
  constructor(root, store, look) {
    super();
    Object.assign(this, { root, store, look, tiles: new Map(), current: null, boxes: new Map() });
    new ResizeObserver(() => this.redrawAll()).observe(root);
  }

  // Makes the tiles follow the images of the session.
  sync() {
    const shown = this.store.shownImages;
    for (const [id, tile] of this.tiles) {
      if (!shown.some((image) => image.id === id)) {
        tile.root.remove();
        this.tiles.delete(id);
      }
    }
    for (const image of shown) if (!this.tiles.has(image.id)) this.tiles.set(image.id, this.make(image));
    this.redrawAll();
  }

  make(image) {
    const root = document.createElement("div"), canvas = document.createElement("canvas");
    root.className = "tile";
    root.tabIndex = 0;
    root.setAttribute("role", "button");
    root.dataset.image = image.id;
    root.setAttribute("aria-label", image.name);
    root.title = image.name;
    const label = document.createElement("div"), name = document.createElement("span"), mine = document.createElement("span");
    label.className = "label";
    name.textContent = image.name;
    mine.className = "mine";
    mine.textContent = "annotated";
    label.append(mine, name);
    const remove = document.createElement("button");
    remove.className = "remove";
    remove.textContent = "×";
    remove.title = `Remove ${image.name}`;
    remove.setAttribute("aria-label", remove.title);
    remove.addEventListener("click", (event) => {
      event.stopPropagation();
      this.dispatchEvent(new CustomEvent("remove", { detail: { image: this.store.images.get(image.id) } }));
    });
    const choose = () => this.dispatchEvent(new CustomEvent("choose", { detail: { image: this.store.images.get(image.id) } }));
    root.addEventListener("click", choose);
    root.addEventListener("keydown", (event) => {
      if (event.target === root && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        choose();
      }
    });
    root.append(canvas, label, remove);
    this.root.append(root);
    const tile = { root, canvas, mine, drawing: null };
    const picture = photo(this.store, image, "tile");
    picture.addEventListener("load", () => this.redraw(this.store.images.get(image.id)));
    return tile;
  }

  setCurrent(image) {
    this.current = image;
    for (const [id, tile] of this.tiles) tile.root.setAttribute("aria-current", String(id === image?.id));
  }

  // Shows where patches lie: {image id: [{box, colour}]}.
  setBoxes(boxes) {
    const touched = new Set([...this.boxes.keys(), ...boxes.keys()]);
    this.boxes = boxes;
    for (const id of touched) if (this.store.images.has(id)) this.redraw(this.store.images.get(id));
  }

  redrawAll() {
    for (const image of this.store.shownImages) this.redraw(image);
    this.setCurrent(this.current);
  }

  redraw(image) {
    const tile = this.tiles.get(image?.id);
    if (!tile || tile.drawing) return;
    tile.drawing = requestAnimationFrame(() => {
      tile.drawing = null;
      this.render(tile, image);
    });
  }

  render(tile, image) {
    const annotated = image.strokes.size > 0 || image.labelled;
    tile.mine.hidden = !annotated;
    tile.root.classList.toggle("waiting", Boolean(this.look.waiting(image)));
    const width = Math.round((tile.root.clientWidth || 150) * (window.devicePixelRatio || 1));
    const height = Math.max(1, Math.round((width * image.height) / image.width));
    Object.assign(tile.canvas, { width, height });
    const context = tile.canvas.getContext("2d");
    draw(context, this.store, image, { x: 0, y: 0, width, height }, { ...this.look, kind: "tile", thin: true });
    const scale = width / image.width;
    for (const { box, colour } of this.boxes.get(image.id) || []) {
      const [top, left, bottom, right] = box.map((value) => value * scale);
      for (const [style, line] of [["#000c", 4], [colour, 2]]) {
        context.strokeStyle = style;
        context.lineWidth = line;
        context.strokeRect(left, top, right - left, bottom - top);
      }
    }
  }
}
