// The points of the map: unpacked, found again by place, and their small pictures.

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  return new Type(bytes.buffer);
}

class Points {
  constructor(data) {
    this.x = Float32Array.from(unpack(data.x, Uint16Array), (value) => value / 65535);
    this.y = Float32Array.from(unpack(data.y, Uint16Array), (value) => value / 65535);
    this.cluster = unpack(data.cluster, Uint32Array);
    this.confidence = unpack(data.confidence, Uint8Array);
    this.names = data.names;
    this.extent = data.extent;
    this.count = this.x.length;
    this.order = this.batches();
    this.index();
  }

  // Points in the order they are drawn: the uncertain first, then by cluster, so that colours change seldom.
  batches() {
    const key = (i) => this.band(i) * 2 ** 32 + this.cluster[i];
    const keys = Float64Array.from(this.cluster, (_, i) => key(i));
    return Uint32Array.from(this.cluster, (_, i) => i).sort((a, b) => keys[a] - keys[b]);
  }

  band(i) { return (this.confidence[i] > 127) + (this.confidence[i] > 178) + (this.confidence[i] > 229); }

  // A grid of cells, each with its points one after the other in `sorted`.
  index() {
    const side = this.side = 128;
    const start = this.start = new Uint32Array(side * side + 1);
    for (let i = 0; i < this.count; i++) start[this.cell(this.x[i], this.y[i]) + 1]++;
    for (let cell = 0; cell < side * side; cell++) start[cell + 1] += start[cell];
    const next = start.slice();
    this.sorted = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) this.sorted[next[this.cell(this.x[i], this.y[i])]++] = i;
  }

  cell(x, y) { return this.line(y) * this.side + this.line(x); }
  line(value) { return Math.min(this.side - 1, Math.max(0, Math.floor(value * this.side))); }

  // The nearest point within `reach` of a place for which `wanted` holds, or -1.
  nearest(x, y, reach, wanted) {
    let best = -1;
    let least = reach * reach;
    for (let row = this.line(y - reach); row <= this.line(y + reach); row++) {
      for (let column = this.line(x - reach); column <= this.line(x + reach); column++) {
        const cell = row * this.side + column;
        for (let at = this.start[cell]; at < this.start[cell + 1]; at++) {
          const i = this.sorted[at];
          const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
          if (distance <= least && wanted(i)) { best = i; least = distance; }
        }
      }
    }
    return best;
  }
}

class Tiles {
  constructor(data, count, loaded) {
    this.size = data.tile;
    this.columns = data.columns;
    this.points = unpack(data.tiles, Uint32Array);
    this.of = new Int32Array(count).fill(-1);
    this.points.forEach((point, tile) => { this.of[point] = tile; });
    this.sheets = data.sheets.map((source) => {
      const image = new Image();
      image.onload = loaded;
      image.src = source;
      return image;
    });
  }

  has(point) { return this.of[point] >= 0; }

  draw(context, point, x, y, size) {
    const tile = this.of[point];
    const each = this.columns * this.columns;
    const sheet = this.sheets[Math.floor(tile / each)];
    if (!sheet || !sheet.complete || !sheet.naturalWidth) return;
    const place = tile % each;
    const left = (place % this.columns) * this.size;
    const top = Math.floor(place / this.columns) * this.size;
    context.drawImage(sheet, left, top, this.size, this.size, x, y, size, size);
  }
}
