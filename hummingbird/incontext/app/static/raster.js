// Strokes to labels, pixel by pixel. ../strokes.py takes the same steps in the same order in double precision, so the
// page shows exactly the labels that the prompt gets.

export const VOID = 255;

export class Labels {
  constructor(height, width, base = null) {
    this.height = height;
    this.width = width;
    this.base = base;
    this.data = new Uint8Array(height * width);
    this.clear();
  }

  clear() {
    if (this.base) this.data.set(this.base);
    else this.data.fill(VOID);
  }

  // Paints one stroke; returns the rectangle that may have changed, or null.
  paint(stroke, valueOf) {
    const value = stroke.tool === "eraser" ? VOID : valueOf(stroke.class);
    if (value === undefined) return null;
    const p = stroke.points;
    if (stroke.tool === "fill") return this.fillOutline(p, value);
    let changed = null;
    for (let i = 0; i < Math.max(p.length - 2, 2); i += 2) {
      const j = p.length > 2 ? i + 2 : i;
      changed = join(changed, this.paintSegment(p[i], p[i + 1], p[j], p[j + 1], stroke.size / 2, value));
    }
    return changed;
  }

  // Paints the pixels with their centre at most `radius` away from the segment.
  paintSegment(ax, ay, bx, by, radius, value) {
    const [top, bottom] = span(Math.min(ay, by) - radius, Math.max(ay, by) + radius, this.height);
    const [left, right] = span(Math.min(ax, bx) - radius, Math.max(ax, bx) + radius, this.width);
    const dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
    for (let row = top; row < bottom; row++) {
      const y = row + 0.5;
      for (let column = left; column < right; column++) {
        const x = column + 0.5;
        const t = length > 0 ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
        const ex = x - (ax + t * dx), ey = y - (ay + t * dy);
        if (ex * ex + ey * ey <= radius * radius) this.data[row * this.width + column] = value;
      }
    }
    return [left, top, right, bottom];
  }

  // Paints the pixels with their centre inside the polygon (even-odd rule).
  fillOutline(p, value) {
    let low = Infinity, high = -Infinity;
    for (let i = 1; i < p.length; i += 2) {
      low = Math.min(low, p[i]);
      high = Math.max(high, p[i]);
    }
    const [top, bottom] = span(low, high, this.height);
    for (let row = top; row < bottom; row++) {
      const y = row + 0.5, cuts = [];
      for (let i = 0; i < p.length; i += 2) {
        const j = (i + 2) % p.length, ax = p[i], ay = p[i + 1], bx = p[j], by = p[j + 1];
        if ((ay <= y) !== (by <= y)) cuts.push(ax + ((y - ay) / (by - ay)) * (bx - ax));
      }
      cuts.sort((a, b) => a - b);
      for (let i = 0; i + 1 < cuts.length; i += 2) {
        const start = Math.max(Math.ceil(cuts[i] - 0.5), 0);
        const stop = Math.min(Math.ceil(cuts[i + 1] - 0.5), this.width);
        if (stop > start) this.data.fill(value, row * this.width + start, row * this.width + stop);
      }
    }
    return [0, top, this.width, bottom];
  }
}

// The pixels of a side that may have their centre between low and high: [first, after the last].
function span(low, high, length) {
  const start = Math.min(Math.max(Math.floor(low), 0), length);
  return [start, Math.min(Math.max(Math.ceil(high), start), length)];
}

export function join(a, b) {
  if (!a || !b) return a || b;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}
