// The state of the session, kept equal to the server's: own changes count at once and are sent in order, those of other
// tabs arrive by a request that waits for them. What has not been sent survives a reload and a server that is gone.

import { Gone, Refused, getJson, postJson } from "./api.js";

export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Store extends EventTarget {
  constructor(session) {
    super();
    this.session = session;
    this.base = `/api/sessions/${session}`;
    this.revision = 0;
    this.effective = 0; // revision at which predictions changed last
    this.classes = new Map();
    this.images = new Map();
    this.settings = {};
    this.online = true;
    this.closed = false;
    this.sending = false;
    this.queue = JSON.parse(localStorage.getItem(`queue-${session}`) || "[]");
  }

  get shownImages() {
    return [...this.images.values()].filter((image) => !image.removed);
  }

  get shownClasses() {
    return [...this.classes.values()].filter((entry) => !entry.removed);
  }

  announce(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  async load() {
    const state = await getJson(this.base);
    const before = this.images;
    this.classes = new Map(state.classes.map((entry) => [entry.id, entry]));
    this.images = new Map();
    for (const image of state.images) {
      const kept = before.get(image.id) || { base: null, mask: null };
      const strokes = new Map(image.strokes.map((stroke) => [stroke.id, stroke]));
      this.images.set(image.id, Object.assign(kept, image, { strokes, labels: null }));
    }
    Object.assign(this, { settings: state.settings, about: state.about, limits: state.limits });
    Object.assign(this, { revision: state.revision, effective: state.effective });
    for (const event of this.queue) this.apply(event);
    this.announce("loaded");
    this.flush();
  }

  // ---------------------------------------------------------------- changes
  // Makes a change at once and sends it as soon as possible.
  change(event) {
    event = { key: newId(), ...event };
    this.apply(event);
    this.queue.push(event);
    this.keep();
    return this.flush();
  }

  // Makes a change when the server has accepted it; throws `Refused` or `Gone`.
  async ask(event) {
    const answer = await postJson(`${this.base}/events`, { events: [{ key: newId(), ...event }] });
    if (answer.refused[0]) throw new Refused(answer.refused[0]);
    await this.catchUp(0);
  }

  keep() {
    try {
      if (this.queue.length) localStorage.setItem(`queue-${this.session}`, JSON.stringify(this.queue));
      else localStorage.removeItem(`queue-${this.session}`);
    } catch { /* the storage is full: the queue lives as long as the page */ }
  }

  async flush() {
    if (this.sending) return;
    this.sending = true;
    let delay = 400;
    while (this.queue.length && !this.closed) {
      const sent = this.queue.slice(0, 50);
      try {
        const answer = await postJson(`${this.base}/events`, { events: sent });
        this.queue.splice(0, sent.length);
        this.keep();
        this.reach(true);
        const refused = answer.refused.filter(Boolean);
        if (refused.length) {
          this.announce("message", { text: refused[0] });
          await this.load();
        }
        this.effective = Math.max(this.effective, answer.effective);
        this.announce("synced");
      } catch (error) {
        if (error instanceof Refused) {
          this.queue.splice(0, sent.length);
          this.keep();
          this.announce("message", { text: error.message });
          continue;
        }
        this.reach(false);
        await pause(delay);
        delay = Math.min(2 * delay, 4000);
      }
    }
    this.sending = false;
  }

  reach(online) {
    if (online === this.online) return;
    this.online = online;
    this.announce("online");
  }

  // ---------------------------------------------------------------- other tabs
  async listen() {
    let delay = 400;
    while (!this.closed) {
      try {
        await this.catchUp(document.hidden ? 0 : 20);
        delay = 400;
        this.reach(true);
        if (document.hidden) await pause(3000);
      } catch (error) {
        if (error instanceof Gone) this.reach(false);
        else this.announce("message", { text: error.message });
        await pause(delay);
        delay = Math.min(2 * delay, 4000);
      }
    }
  }

  async catchUp(wait) {
    const answer = await getJson(`${this.base}/events?since=${this.revision}&wait=${wait}`);
    if (answer.revision < this.revision) return this.load(); // another server, an older journal
    const waiting = new Set(this.queue.map((event) => event.key));
    const fresh = answer.events.filter((event) => event.revision > this.revision);
    for (const event of fresh) if (!waiting.has(event.key)) this.apply(event);
    this.revision = Math.max(this.revision, answer.revision);
    this.effective = Math.max(this.effective, answer.effective);
    if (fresh.length) this.announce("synced");
  }

  // ---------------------------------------------------------------- events, as of session.py
  apply(event) {
    const image = this.images.get(event.image || event.id), entry = this.classes.get(event.id);
    switch (event.type) {
      case "class.add":
        this.classes.set(event.id, { removed: false, ...entry, id: event.id, name: event.name, value: event.value, colour: event.colour });
        break;
      case "class.edit":
        if (entry) Object.assign(entry, event.name && { name: event.name }, event.colour && { colour: event.colour });
        break;
      case "class.remove":
        if (entry) entry.removed = event.removed ?? true;
        for (const each of this.images.values()) each.labels = null;
        break;
      case "image.add":
        if (!image) this.images.set(event.id, { strokes: new Map(), base: null, mask: null, labels: null, removed: false, ...event });
        break;
      case "image.remove":
        if (image) image.removed = event.removed ?? true;
        break;
      case "stroke.add":
        if (image) this.addStroke(image, event.stroke, event.revision);
        break;
      case "stroke.remove":
        for (const id of image ? event.ids : []) if (image.strokes.delete(id)) image.labels = null;
        break;
      case "settings":
        Object.assign(this.settings, event.neighbours && { neighbours: event.neighbours }, event.temperature && { temperature: event.temperature });
        break;
    }
    this.announce("changed", { event });
  }

  // Strokes cover one another in the order in which the server got them; those on their way come last.
  addStroke(image, stroke, revision) {
    const known = image.strokes.get(stroke.id);
    if (known) known.order = revision ?? known.order;
    else image.strokes.set(stroke.id, { ...stroke, order: revision ?? Infinity });
    const before = [...image.strokes.keys()].join();
    image.strokes = new Map([...image.strokes].sort((a, b) => (a[1].order === b[1].order ? 0 : a[1].order - b[1].order)));
    if (!known || before !== [...image.strokes.keys()].join()) image.labels = null;
  }
}
