// Draws the picture and its faces on a canvas, and turns what the pointer does into moves.

const COLOURS = { jaw: '#5aa9ff', left_brow: '#6ee7a8', right_brow: '#6ee7a8', nose: '#ffd166', left_eye: '#6ee7a8',
  right_eye: '#6ee7a8', mouth: '#ff8a7a' };
const REACH = { mouse: 12, pen: 16, touch: 28 };

export class View {
  // on: select(face, point), move(face, point, dx, dy, wholePart), drop(), box([x1, y1, x2, y2])
  constructor(canvas, scheme, on) {
    Object.assign(this, { canvas, on, scheme, faces: [], image: null, scale: 1, x: 0, y: 0, selected: null, boxing: null });
    this.context = canvas.getContext('2d');
    this.partOf = [];
    for (const [name, indices] of Object.entries(scheme.groups)) for (const i of indices) this.partOf[i] = name;
    this.pointers = new Map();
    canvas.addEventListener('pointerdown', (e) => this.down(e));
    canvas.addEventListener('pointermove', (e) => this.moved(e));
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, (e) => this.up(e));
    canvas.addEventListener('wheel', (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY / 400), ...this.at(e)); },
      { passive: false });
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.ratio = ratio;
    if (!this.shown) this.fit();
    else this.pan((clientWidth - this.was[0]) / 2, (clientHeight - this.was[1]) / 2);  // the middle stays in the middle
    this.was = [clientWidth, clientHeight];
  }

  show(image, width, height, faces) {
    Object.assign(this, { image, width, height, faces, selected: null, boxing: null, shown: false });
    this.fit();
  }

  // Picture pixels have their centres at integers; on the screen the first pixel's corner is at x, y.
  toScreen([x, y]) { return [(x + 0.5) * this.scale + this.x, (y + 0.5) * this.scale + this.y]; }

  toPicture([x, y]) { return [(x - this.x) / this.scale - 0.5, (y - this.y) / this.scale - 0.5]; }

  at(event) { const box = this.canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; }

  fit(box = null, most = 40) {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (!this.width || !w || !h) return;
    const [x1, y1, x2, y2] = box ?? [0, 0, this.width - 1, this.height - 1];
    this.scale = Math.min(w / (x2 - x1 + 1), h / (y2 - y1 + 1), most);
    this.x = w / 2 - ((x1 + x2) / 2 + 0.5) * this.scale;
    this.y = h / 2 - ((y1 + y2) / 2 + 0.5) * this.scale;
    this.shown = true;
    this.draw();
  }

  fitFace(index) {
    const points = this.faces[index].landmarks;
    const xs = points.map((p) => p[0]); const ys = points.map((p) => p[1]);
    const [x1, x2, y1, y2] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const margin = 0.2 * Math.max(x2 - x1, y2 - y1, 1);
    this.fit([x1 - margin, y1 - margin, x2 + margin, y2 + margin], 12);  // closer shows pixels, not a face
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, 0.02), 60);
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.draw();
  }

  pan(dx, dy) { this.x += dx; this.y += dy; this.draw(); }

  nearest(place, reach) {
    let best = null; let least = reach;
    this.faces.forEach((face, f) => face.landmarks.forEach((p, i) => {
      const [x, y] = this.toScreen(p);
      const own = this.selected && this.selected.face === f ? 0.8 : 1;  // the selected face is meant first
      const distance = own * Math.hypot(x - place[0], y - place[1]);
      if (distance < least) { least = distance; best = { face: f, point: i }; }
    }));
    return best;
  }

  down(event) {
    if (event.button > 0 && event.button !== 1) return;
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.at(event);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size === 2) { this.drag = null; if (this.boxing) this.boxing.from = null; return; }
    if (this.boxing) { this.boxing.from = this.toPicture(place); this.boxing.to = this.boxing.from; return; }
    const hit = event.button === 0 ? this.nearest(place, REACH[event.pointerType] ?? 12) : null;
    if (hit) this.on.select(hit.face, hit.point);
    this.drag = { hit, last: this.toPicture(place), part: event.shiftKey, still: true };
  }

  moved(event) {
    const place = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) { this.pinch(event.pointerId, before, place); return; }
    this.pointers.set(event.pointerId, place);
    if (this.boxing?.from) { this.boxing.to = this.toPicture(place); this.draw(); return; }
    if (!this.drag) return;
    if (!this.drag.hit) { this.drag.still = false; this.pan(place[0] - before[0], place[1] - before[1]); return; }
    const now = this.toPicture(place);
    this.drag.still = false;
    this.on.move(this.drag.hit.face, this.drag.hit.point, now[0] - this.drag.last[0], now[1] - this.drag.last[1], this.drag.part);
    this.drag.last = now;
  }

  pinch(id, before, place) {
    const other = [...this.pointers.entries()].find(([key]) => key !== id)[1];
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const is = Math.hypot(place[0] - other[0], place[1] - other[1]);
    this.pointers.set(id, place);
    this.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    if (was > 1) this.zoom(is / was, (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { drag, boxing } = this;
    this.drag = null;
    if (boxing?.from) {
      const [[x1, y1], [x2, y2]] = [boxing.from, boxing.to];
      boxing.from = null;
      const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
      if (box[2] - box[0] > 3 && box[3] - box[1] > 3 && event.type === 'pointerup') this.on.box(box); else this.draw();
    } else if (drag?.hit && !drag.still) this.on.drop();
    else if (drag && !drag.hit && drag.still) this.on.select(null, null);
  }

  middleBox() {  // the dashed box: what Enter takes while a face is added
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const side = 0.6 * Math.min(w, h);
    const [x1, y1] = this.toPicture([(w - side) / 2, (h - side) / 2]);
    const [x2, y2] = this.toPicture([(w + side) / 2, (h + side) / 2]);
    return [x1, y1, x2, y2];
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = null; this.paint(); });
  }

  paint() {
    const c = this.context;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    if (this.image) {
      c.imageSmoothingEnabled = this.scale < 3;
      c.drawImage(this.image, this.x, this.y, this.width * this.scale, this.height * this.scale);
    }
    this.faces.forEach((face, f) => this.paintFace(c, face, f));
    if (this.boxing) this.paintBox(c);
  }

  paintFace(c, face, f) {
    const mine = this.selected?.face === f;
    const places = face.landmarks.map((p) => this.toScreen(p));
    c.lineWidth = 1;
    c.globalAlpha = this.selected && !mine ? 0.45 : 1;
    for (const [indices, closed] of this.scheme.contours) {
      c.strokeStyle = COLOURS[this.partOf[indices[0]]];
      c.beginPath();
      indices.forEach((i, n) => (n ? c.lineTo(...places[i]) : c.moveTo(...places[i])));
      if (closed) c.closePath();
      c.stroke();
    }
    const radius = Math.min(Math.max(this.scale * 0.7, 1.5), 4);
    places.forEach(([x, y], i) => {
      const chosen = mine && this.selected.point === i;
      c.beginPath();
      c.arc(x, y, chosen ? radius + 3 : radius, 0, 2 * Math.PI);
      c.fillStyle = chosen ? '#ffffff' : COLOURS[this.partOf[i]];
      c.strokeStyle = chosen ? '#ff2d78' : '#000a';
      c.lineWidth = chosen ? 2 : 1;
      if (face.visible && !face.visible[i]) { c.strokeStyle = chosen ? '#ff2d78' : COLOURS[this.partOf[i]]; c.stroke(); }
      else { c.fill(); c.stroke(); }
    });
    c.globalAlpha = 1;
  }

  paintBox(c) {
    const { from, to } = this.boxing;
    const middle = this.middleBox();
    const [a, b] = from ? [from, to] : [middle.slice(0, 2), middle.slice(2)];
    const [x1, y1] = this.toScreen(a); const [x2, y2] = this.toScreen(b);
    c.strokeStyle = '#ffffff'; c.lineWidth = 2; c.setLineDash(from ? [] : [8, 6]);
    c.strokeRect(x1, y1, x2 - x1, y2 - y1);
    c.setLineDash([]);
  }
}
