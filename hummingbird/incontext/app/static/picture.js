// An image with its labels and masks as canvases: photo below, prediction over it, strokes on top.

import { fetchBytes, inflate } from "./api.js";
import { Labels, VOID } from "./raster.js";

const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

// Class values to RGB, as a table of 3 x 256 bytes.
export function palette(classes) {
  const table = new Uint8Array(3 * 256).fill(128);
  for (const entry of classes) {
    if (entry.value === undefined || !entry.colour) continue;
    for (let i = 0; i < 3; i++) table[3 * entry.value + i] = parseInt(entry.colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  }
  return table;
}

function viridis(share) {
  const place = (share / 255) * (VIRIDIS.length - 1), low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return [0, 1, 2].map((i) => VIRIDIS[low][i] + (place - low) * (VIRIDIS[low + 1][i] - VIRIDIS[low][i]));
}
const SHARE_COLOURS = Array.from({ length: 256 }, (_, share) => viridis(share));

const newCanvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

// Loads the photo of an image once, as "view" or "tile".
export function photo(store, image, kind) {
  image.photos ??= {};
  if (!image.photos[kind]) {
    const picture = new Image();
    picture.decoding = "async";
    picture.src = `${store.base}/images/${image.id}/${kind}`;
    image.photos[kind] = picture;
  }
  return image.photos[kind];
}

// Resolves when the mask that the image came with is there.
export async function loadBase(store, image) {
  if (!image.labelled || image.base) return;
  image.base = await inflate(await fetchBytes(`${store.base}/images/${image.id}/mask`));
  image.labels = null;
}

// The labels of an image: its mask with all strokes over it.
export function labelsOf(store, image) {
  if (!image.labels) {
    const values = new Set(store.shownClasses.map((entry) => entry.value));
    const base = image.base && image.base.map((value) => (values.has(value) ? value : VOID));
    image.labels = new Labels(image.height, image.width, base);
    for (const stroke of image.strokes.values()) image.labels.paint(stroke, (id) => valueOf(store, id));
    image.strokesPainted = null;
  }
  return image.labels;
}

export function valueOf(store, id) {
  const entry = store.classes.get(id);
  return entry && !entry.removed ? entry.value : undefined;
}

// The prediction as a canvas of the mask's size, in class colours or as confidence.
export function paintedMask(image, view, colours, colourKey) {
  const mask = image.mask, key = `${view} ${colourKey}`;
  if (mask.painted?.key === key) return mask.painted.canvas;
  const canvas = newCanvas(mask.width, mask.height), context = canvas.getContext("2d");
  const picture = context.createImageData(mask.width, mask.height), data = picture.data;
  for (let i = 0, j = 0; i < mask.labels.length; i++, j += 4) {
    if (view === "confidence") {
      const colour = SHARE_COLOURS[mask.share[i]];
      data[j] = colour[0]; data[j + 1] = colour[1]; data[j + 2] = colour[2];
    } else {
      const value = 3 * mask.labels[i];
      data[j] = colours[value]; data[j + 1] = colours[value + 1]; data[j + 2] = colours[value + 2];
    }
    data[j + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  mask.painted = { key, canvas };
  return canvas;
}

// The strokes as a canvas of the image's size; `changed` limits the work to a rectangle.
export function paintedStrokes(store, image, colours, colourKey, changed = null) {
  const labels = labelsOf(store, image);
  let painted = image.strokesPainted;
  if (!painted || painted.key !== colourKey) {
    painted = image.strokesPainted = { key: colourKey, canvas: newCanvas(image.width, image.height) };
    changed = [0, 0, image.width, image.height];
  }
  if (!changed) return painted.canvas;
  const [left, top, right, bottom] = changed;
  if (right <= left || bottom <= top) return painted.canvas;
  const context = painted.canvas.getContext("2d");
  const picture = context.createImageData(right - left, bottom - top), data = picture.data;
  for (let row = top, j = 0; row < bottom; row++) {
    for (let column = left; column < right; column++, j += 4) {
      const value = labels.data[row * image.width + column];
      if (value === VOID) continue;
      data[j] = colours[3 * value]; data[j + 1] = colours[3 * value + 1]; data[j + 2] = colours[3 * value + 2];
      data[j + 3] = 255;
    }
  }
  context.putImageData(picture, left, top);
  return painted.canvas;
}

// Draws photo, prediction and strokes into a rectangle of a canvas.
export function draw(context, store, image, place, options) {
  const { x, y, width, height } = place, { kind, view, opacity, strokes, colours, colourKey, thin } = options;
  const picture = [kind, "tile"].map((each) => photo(store, image, each)).find((each) => each.complete && each.naturalWidth);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  if (picture) context.drawImage(picture, x, y, width, height);
  if (image.mask && view !== "photo") {
    context.globalAlpha = opacity;
    context.drawImage(paintedMask(image, view, colours, colourKey), x, y, width, height);
    context.globalAlpha = 1;
  }
  if (strokes && (image.strokes.size || image.base)) {
    context.save();
    context.globalAlpha = image.labelled ? 0.75 : 1;
    context.shadowColor = "#000c";
    context.shadowBlur = thin ? 2 : 4;
    context.drawImage(paintedStrokes(store, image, colours, colourKey), x, y, width, height);
    context.restore();
  }
}
