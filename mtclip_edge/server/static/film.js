// Draws films: grey values through a window, zoomed and moved. The window counts in the grey that the film is first
// seen in: 0 is its black, 255 its white; a film's stored values reach beyond both.

const LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
if (!LITTLE) throw new Error("this page needs a little-endian machine");

export class View {
  // What both panes share.
  constructor() { this.panes = []; this.reset(); }
  reset() { this.low = 0; this.high = 255; this.inverted = false; this.zoom = 1; this.x = 0; this.y = 0; this.draw(); }
  window(low, high) { this.low = low; this.high = Math.max(low + 1, high); this.draw(); }
  drag(across, down) {
    const width = Math.min(4096, Math.max(2, this.high - this.low + across));
    const level = (this.high + this.low) / 2 + down;
    this.window(level - width / 2, level + width / 2);
  }
  scale(by, x = 0, y = 0) {
    // x, y: what stays in place, from the pane's middle in shares of its width and height
    const zoom = Math.min(12, Math.max(1, this.zoom * by)), ratio = zoom / this.zoom;
    this.x = x - (x - this.x) * ratio; this.y = y - (y - this.y) * ratio; this.zoom = zoom;
    this.clamp(); this.move();
  }
  pan(across, down) { this.x += across; this.y += down; this.clamp(); this.move(); }
  clamp() {
    const most = (this.zoom - 1) / 2 + .25 * Math.min(1, this.zoom - 1);
    this.x = Math.min(most, Math.max(-most, this.x)); this.y = Math.min(most, Math.max(-most, this.y));
  }
  draw() { for (const pane of this.panes) pane.draw(); this.changed?.(); }
  move() { for (const pane of this.panes) pane.move(); this.changed?.(); }
}

export class Pane {
  constructor(figure, view) {
    this.figure = figure; this.view = view; this.canvas = figure.querySelector("canvas"); view.panes.push(this);
    this.over = figure.querySelector(".heat"); this.pointers = new Map(); this.film = null; this.asked = 0;
    figure.addEventListener("pointerdown", event => this.down(event));
    figure.addEventListener("pointermove", event => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) figure.addEventListener(name, event => this.pointers.delete(event.pointerId));
    figure.addEventListener("wheel", event => {
      if (!this.film) return;
      event.preventDefault();
      this.view.scale(Math.exp(-event.deltaY / 400), ...this.place(event));
    }, {passive: false});
    figure.addEventListener("contextmenu", event => this.film && event.preventDefault());
  }
  show(film) {
    // {rows, columns, values: Uint8Array, or Uint16Array with facts}
    this.film = film;
    const resized = this.canvas.width !== film.columns || this.canvas.height !== film.rows;
    if (resized) { this.canvas.width = film.columns; this.canvas.height = film.rows; }
    this.image = this.canvas.getContext("2d").createImageData(film.columns, film.rows);
    this.figure.classList.add("has");
    this.draw(); this.move();
  }
  clear() { this.film = null; this.image = null; this.canvas.width = this.canvas.height = 0; this.figure.classList.remove("has"); }
  draw() {
    // Many moves of a pointer come within one frame.
    if (!this.film || this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; if (this.film) this.drawn(); });
  }
  drawn() {
    const {values} = this.film, table = greys(this.film, this.view), out = new Uint32Array(this.image.data.buffer);
    for (let i = 0; i < out.length; i++) out[i] = table[values[i]];
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
    this.figure.dataset.window = `${Math.round(this.view.low)} ${Math.round(this.view.high)}`;
  }
  move() {
    const {zoom, x, y} = this.view;
    for (const canvas of this.figure.querySelectorAll("canvas"))
      canvas.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${zoom})`;
  }
  place(event) {
    const box = this.figure.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width - .5, (event.clientY - box.top) / box.height - .5];
  }
  down(event) {
    if (!this.film || event.target.closest("button, label, input")) return;
    this.pointers.set(event.pointerId, event);
    this.figure.setPointerCapture(event.pointerId);
  }
  moved(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const box = this.figure.getBoundingClientRect(), others = [...this.pointers.values()].filter(one => one.pointerId !== event.pointerId);
    const across = event.clientX - last.clientX, down = event.clientY - last.clientY;
    this.pointers.set(event.pointerId, event);
    if (others.length === 1) {
      const apart = one => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      this.view.scale(apart(event) / Math.max(1, apart(last)), ...this.place(event));
    } else if (this.view.panning || event.shiftKey || event.buttons & 6) this.view.pan(across / box.width, down / box.height);
    else this.view.drag(across, down);
  }
}

function greys({values, facts}, {low, high, inverted}) {
  // 0xffGGGGGG of each value that a film may have
  const table = new Uint32Array(values instanceof Uint16Array ? 65536 : 256), seen = facts && seenAs(facts);
  for (let value = 0; value < table.length; value++) {
    let grey = Math.min(255, Math.max(0, 255 * ((seen ? seen(value) : value) - low) / (high - low)));
    if (inverted) grey = 255 - grey;
    grey = Math.round(grey);
    table[value] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
  return table;
}

function seenAs({slope, intercept, inverse, window: {center, width, function: how}}) {
  // A stored value as the grey that the film's own window gives it, not cut off at black and white.
  const linear = how === "LINEAR", middle = linear ? center - .5 : center, wide = Math.max(1e-9, linear ? width - 1 : width);
  return stored => {
    const value = stored * slope + intercept;
    const share = how === "SIGMOID" ? 1 / (1 + Math.exp(-4 * (value - center) / width)) : (value - middle) / wide + .5;
    return 255 * (inverse ? 1 - share : share);
  };
}

export function quantiles(film, shares) {
  // Greys, as the window counts, below which these shares of a film lie.
  const count = new Float64Array(film.values instanceof Uint16Array ? 65536 : 256), seen = film.facts ? seenAs(film.facts) : value => value;
  for (const value of film.values) count[value]++;
  const order = [...count.keys()].filter(value => count[value]).sort((a, b) => seen(a) - seen(b));
  const found = [];
  let sum = 0, next = 0;
  for (const value of order) {
    sum += count[value];
    while (next < shares.length && sum >= shares[next] * film.values.length) { found.push(seen(value)); next++; }
  }
  return found;
}

export async function picture(blob) {
  // A grey picture file as a film.
  const bitmap = await createImageBitmap(blob), {width, height} = bitmap;
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const {data} = context.getImageData(0, 0, width, height), values = new Uint8Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i];
  return {rows: height, columns: width, values};
}
