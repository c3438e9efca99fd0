// Keeps the masks of all images up to date. Only the answer to the latest state counts: a newer change ends the request.

import { Gone, frames, inflate } from "./api.js";

const TILE_SIDE = 448, STAGE_SIDE = 1024; // longest sides of masks, pixels

export class Predictor extends EventTarget {
  constructor(store) {
    super();
    this.store = store;
    this.current = () => null; // image on the stage
    this.request = null;
    this.error = "";
    this.values = null; // class values that are annotated; null before the first answer
    this.busy = false;
    this.started = 0;
  }

  // The images without an up-to-date mask, the one on the stage first.
  stale() {
    const current = this.current(), found = [];
    for (const image of this.store.shownImages) {
      const longest = Math.max(image.height, image.width), large = image === current;
      const side = Math.min(longest, large ? STAGE_SIDE : TILE_SIDE), mask = image.mask;
      if (!mask || mask.revision !== this.store.effective || mask.side < side) {
        if (large) found.unshift({ id: image.id, side });
        else found.push({ id: image.id, side });
      }
    }
    return found;
  }

  // Asks for what is stale, and gives up a request for an older state.
  async update() {
    const key = `${this.store.effective} ${this.current()?.id} ${this.store.shownImages.length}`;
    if (this.request?.key === key && this.busy) return;
    this.request?.abort.abort();
    const mine = (this.request = { key, abort: new AbortController() });
    const wanted = this.stale();
    if (!wanted.length) return this.finish();
    if (!this.busy) this.started = performance.now();
    this.busy = true;
    this.dispatchEvent(new Event("progress"));
    try {
      for await (const { head, parts } of frames(`${this.store.base}/predict`, { images: wanted }, mine.abort.signal)) {
        if (mine !== this.request) return;
        this.error = head.error || "";
        if (head.error) break;
        if (head.values) this.values = head.values;
        if (head.values && !head.values.length) this.forget(head.revision);
        if (head.id) await this.take(head, parts, wanted, mine);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (mine !== this.request) return;
      if (!(error instanceof Gone)) this.error = error.message;
    }
    if (mine !== this.request) return;
    this.finish();
    if (!this.error && this.values?.length && this.store.online && this.stale().length) {
      setTimeout(() => mine === this.request && this.update(), 150); // the stream ended early
    }
  }

  finish() {
    const seconds = (performance.now() - this.started) / 1000;
    const was = this.busy;
    this.busy = false;
    this.dispatchEvent(new CustomEvent("progress", { detail: was ? { seconds } : {} }));
  }

  async take(head, parts, wanted, mine) {
    const [labels, share] = await Promise.all(parts.map(inflate));
    const image = this.store.images.get(head.id);
    if (!image || mine !== this.request) return;
    const side = wanted.find((item) => item.id === head.id).side;
    image.mask = { revision: head.revision, side, height: head.height, width: head.width, labels, share, painted: null };
    this.dispatchEvent(new CustomEvent("mask", { detail: { image } }));
  }

  // Nothing is annotated: no image has a mask.
  forget(revision) {
    for (const image of this.store.images.values()) {
      if (image.mask) {
        image.mask = null;
        this.dispatchEvent(new CustomEvent("mask", { detail: { image } }));
      }
    }
  }
}
