// The map itself: draws the points or their pictures, and answers when one is pointed at.

class ClusterMap {
  constructor(data) {
    this.data = data;
    this.canvas = document.getElementById("canvas");
    this.context = this.canvas.getContext("2d");
    this.points = new Points(data);
    this.tiles = new Tiles(data, this.points.count, () => this.redraw());
    this.view = new View(this.canvas, data.extent, () => { tip.hide(); this.redraw(); });
    this.only = -1; // the one cluster that is shown alone
    this.hovered = -1;
    this.pictures = false;
    this.placed = new Map(); // cell of the picture grid -> point whose picture is drawn there
    this.theme = window.matchMedia("(prefers-color-scheme: dark)");
    this.theme.addEventListener("change", () => this.redraw());
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
    this.listen();
    this.resize();
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") this.point(event); });
    this.canvas.addEventListener("click", (event) => { if (this.view.travel <= 4) this.point(event); });
    this.canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.leave(); });
    document.addEventListener("pointerdown", (event) => { if (event.target !== this.canvas) this.leave(); });
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 3);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    this.view.resize(width, height);
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const style = getComputedStyle(page);
    this.ink = style.getPropertyValue("--ink");
    this.paper = style.getPropertyValue("--card");
    this.colours = this.theme.matches ? this.data.dark : this.data.light;
    this.context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.context.clearRect(0, 0, this.view.width, this.view.height);
    this.drawPoints();
    if (this.pictures) this.drawPictures();
    else this.drawLabels();
    this.drawHovered();
    this.context.globalAlpha = 1;
  }

  colour(point) { return this.colours[this.points.cluster[point] % this.data.colours]; }
  isShown(point) { return this.only < 0 || this.points.cluster[point] === this.only; }

  get radius() {
    const base = Math.min(4.5, Math.max(1.1, 190 / Math.sqrt(this.points.count)));
    return Math.min(8, base * Math.max(0.85, this.view.width / 900) * this.view.zoom ** 0.3);
  }

  drawPoints() {
    const { points, view, context } = this;
    const scale = view.scale;
    const [left, top] = [view.width / 2 - view.x * scale, view.height / 2 - view.y * scale];
    const radius = this.radius;
    const strength = this.pictures ? [0.12, 0.16, 0.2, 0.25] : [0.3, 0.45, 0.65, 0.9];
    let batch = -1;
    for (let pass = this.only < 0 ? 1 : 0; pass < 2; pass++) { // first the others, then the chosen cluster
      for (const i of points.order) {
        if (this.isShown(i) !== (pass === 1)) continue;
        const x = points.x[i] * scale + left;
        const y = points.y[i] * scale + top;
        if (x < -9 || y < -9 || x > view.width + 9 || y > view.height + 9) continue;
        const key = pass ? points.band(i) * 2 ** 32 + points.cluster[i] : -2;
        if (key !== batch) {
          if (batch !== -1) context.fill();
          context.beginPath();
          context.fillStyle = pass ? this.colour(i) : this.ink;
          context.globalAlpha = pass ? strength[points.band(i)] : 0.07;
          batch = key;
        }
        if (radius < 1.6) context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius); // much faster than a path
        else { context.moveTo(x + radius, y); context.arc(x, y, radius, 0, 6.2832); }
      }
    }
    if (batch !== -1) context.fill();
    context.globalAlpha = 1;
  }

  // Pictures stand on a grid that is fixed to the map, so that they stay where they are while it moves.
  get grid() {
    const base = this.view.scale / this.view.zoom;
    const target = this.view.width < 520 ? 30 : 38;
    return target / base / 2 ** (Math.floor(2 * Math.log2(this.view.zoom)) / 2);
  }

  cell(point, grid) {
    return Math.floor(this.points.x[point] / grid) + 1e6 * Math.floor(this.points.y[point] / grid);
  }

  drawPictures() {
    const { points, view, tiles, context } = this;
    const grid = this.grid;
    const size = grid * view.scale;
    this.placed.clear();
    for (const point of tiles.points) {
      if (!this.isShown(point)) continue;
      const cell = this.cell(point, grid);
      const known = this.placed.get(cell);
      if (known === undefined || points.confidence[point] > points.confidence[known]) this.placed.set(cell, point);
    }
    context.globalAlpha = 1;
    context.lineWidth = 2;
    for (const point of this.placed.values()) {
      const corner = [Math.floor(points.x[point] / grid) * grid, Math.floor(points.y[point] / grid) * grid];
      const [x, y] = view.toScreen(...corner);
      if (x < -size || y < -size || x > view.width || y > view.height) continue;
      tiles.draw(context, point, x + 1.5, y + 1.5, size - 3);
      context.strokeStyle = this.colour(point);
      context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
    }
  }

  drawLabels() {
    const { context, points } = this;
    context.globalAlpha = 1;
    context.font = "650 14px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const written = []; // the largest clusters come first, and no label covers another
    for (const point of this.data.labels) {
      if (!this.isShown(point)) continue;
      const [x, y] = this.view.toScreen(points.x[point], points.y[point]);
      const name = [...(this.called(point) || String(points.cluster[point]))];
      const words = name.length > 24 ? `${name.slice(0, 23).join("")}…` : name.join("");
      const width = context.measureText(words).width + 13;
      if (written.some((other) => Math.abs(other.x - x) < (other.width + width) / 2 && Math.abs(other.y - y) < 24)) continue;
      written.push({ x, y, width });
      context.beginPath();
      context.roundRect(x - width / 2, y - 11, width, 22, 11);
      context.fillStyle = this.paper;
      context.fill();
      context.strokeStyle = this.colour(point);
      context.lineWidth = 2;
      context.stroke();
      context.fillStyle = this.ink;
      context.fillText(words, x, y + 0.5);
    }
  }

  drawHovered() {
    if (this.hovered < 0 || this.pictures) return;
    const [x, y] = this.view.toScreen(this.points.x[this.hovered], this.points.y[this.hovered]);
    this.context.beginPath();
    this.context.arc(x, y, this.radius + 3.5, 0, 6.2832);
    this.context.globalAlpha = 1;
    this.context.lineWidth = 2.5;
    this.context.strokeStyle = this.ink;
    this.context.stroke();
  }

  find(event) {
    const [x, y] = this.view.toMap(event.offsetX, event.offsetY);
    const picture = this.pictures ? this.placed.get(Math.floor(x / this.grid) + 1e6 * Math.floor(y / this.grid)) : undefined;
    if (picture !== undefined) return picture;
    const reach = (event.pointerType === "mouse" ? 12 : 22) / this.view.scale;
    return this.points.nearest(x, y, reach, (point) => this.isShown(point));
  }

  point(event) {
    if (this.view.isMoving) return;
    const found = this.find(event);
    if (found < 0) { this.leave(); return; }
    if (found !== this.hovered) { this.hovered = found; this.redraw(); }
    tip.show(event.clientX, event.clientY, this.points.names[found], this.words(found), this.portrait(found));
  }

  called(point) { return this.data.called[this.points.cluster[point]]; }

  words(point) {
    const share = (this.points.confidence[point] / 255).toFixed(2);
    const name = this.called(point);
    return `cluster ${this.points.cluster[point]}${name ? ` (${name})` : ""}, confidence ${share}`;
  }

  portrait(point) {
    if (!this.tiles.has(point)) return null;
    const { width, height } = tip.canvas;
    tip.canvas.getContext("2d").clearRect(0, 0, width, height);
    this.tiles.draw(tip.canvas.getContext("2d"), point, 0, 0, width);
    return tip.canvas;
  }

  leave() {
    if (this.hovered >= 0) { tip.hide(); this.hovered = -1; this.redraw(); }
  }

  show(cluster) { this.only = cluster; this.leave(); this.redraw(); }
  draws(pictures) { this.pictures = pictures; this.leave(); this.redraw(); }
}

function wire(map) {
  const chips = all("[data-highlight]");
  const pick = document.getElementById("pick");
  const choose = (cluster) => {
    map.show(cluster);
    press(chips, chips.find((chip) => Number(chip.dataset.highlight) === cluster));
    if (pick) pick.value = cluster < 0 ? "" : String(cluster);
  };
  for (const chip of chips) {
    const cluster = Number(chip.dataset.highlight);
    chip.addEventListener("click", () => choose(map.only === cluster ? -1 : cluster));
  }
  if (pick) pick.addEventListener("change", () => choose(pick.value === "" ? -1 : Number(pick.value)));
  for (const button of all("[data-locate]")) {
    button.addEventListener("click", () => {
      choose(Number(button.dataset.locate));
      document.getElementById("map").scrollIntoView();
    });
  }
  const modes = all("[data-draw]");
  for (const button of modes) {
    button.addEventListener("click", () => { map.draws(button.dataset.draw === "pictures"); press(modes, button); });
  }
  const zooms = { in: () => map.view.zoomBy(1.6), out: () => map.view.zoomBy(1 / 1.6), all: () => map.view.all() };
  for (const button of all("[data-zoom]")) button.addEventListener("click", zooms[button.dataset.zoom]);
}

const packed = document.getElementById("map-data");
if (packed) wire(new ClusterMap(JSON.parse(packed.textContent)));
page.dataset.ready = "true";
