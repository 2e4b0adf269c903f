// What part of the map is in view, and the mouse, fingers and keys that change it.

class View {
  constructor(canvas, extent, changed) {
    Object.assign(this, { canvas, extent, changed, zoom: 1, x: extent[0] / 2, y: extent[1] / 2 });
    this.pointers = new Map();
    this.travel = 0;
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoomBy(2, event.offsetX, event.offsetY));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
  }

  resize(width, height) { Object.assign(this, { width, height }); }

  // Pixels a unit of the map.
  get scale() {
    const room = 32;
    const fit = Math.min(
      (this.width - 2 * room) / Math.max(this.extent[0], 1e-3),
      (this.height - 2 * room) / Math.max(this.extent[1], 1e-3),
    );
    return Math.max(fit, 10) * this.zoom;
  }

  toScreen(x, y) {
    const scale = this.scale;
    return [(x - this.x) * scale + this.width / 2, (y - this.y) * scale + this.height / 2];
  }

  toMap(x, y) {
    const scale = this.scale;
    return [(x - this.width / 2) / scale + this.x, (y - this.height / 2) / scale + this.y];
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.toMap(x, y);
    this.zoom = Math.min(200, Math.max(1, this.zoom * factor));
    const after = this.toMap(x, y);
    this.moveBy(before[0] - after[0], before[1] - after[1]);
  }

  moveBy(x, y) {
    const within = (value, length) => Math.min(Math.max(value, 0), length);
    this.x = within(this.x + x, this.extent[0]);
    this.y = within(this.y + y, this.extent[1]);
    if (this.zoom === 1) [this.x, this.y] = [this.extent[0] / 2, this.extent[1] / 2];
    this.canvas.classList.toggle("zoomed", this.zoom > 1);
    this.changed();
  }

  all() { this.zoom = 1; this.moveBy(0, 0); }

  // The bare wheel scrolls the page, as everywhere; once the map was clicked it is the map's.
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.canvas) return;
    if (!event.ctrlKey && this.zoom === 1 && event.deltaY > 0) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.008 : 0.0022)), event.offsetX, event.offsetY);
  }

  key(event) {
    const step = 60 / this.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.all();
    else if (moves[event.key] && this.zoom > 1) this.moveBy(...moves[event.key]);
    else return;
    event.preventDefault();
  }

  down(event) {
    if (this.pointers.size === 0) this.travel = 0;
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (event.pointerType === "mouse") this.canvas.setPointerCapture(event.pointerId);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.canvas.classList.remove("moving");
  }

  get isMoving() { return this.pointers.size > 0 && this.travel > 4; }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    this.travel += Math.hypot(now[0] - before[0], now[1] - before[1]);
    const other = Array.from(this.pointers).find(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, now);
    if (other) this.pinch(before, now, other[1]);
    else if (this.isMoving && this.zoom > 1) {
      this.canvas.classList.add("moving");
      this.moveBy((before[0] - now[0]) / this.scale, (before[1] - now[1]) / this.scale);
    }
  }

  pinch(before, now, other) {
    const span = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    this.zoomBy(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
}
