// The faces of one picture as they stand, with undo and redo. A step is everything between two calls of `done`.

const copy = (faces) => faces.map((f) => ({ ...f, bbox: [...f.bbox], landmarks: f.landmarks.map((p) => [...p]),
  ...(f.visible ? { visible: [...f.visible] } : {}) }));
const round = (value) => Math.round(value * 1000) / 1000;

export class Faces {
  constructor(faces) { this.faces = copy(faces); this.before = copy(faces); this.undone = []; this.steps = []; }

  done() {  // ends a step; true if it changed anything
    if (JSON.stringify(this.before) === JSON.stringify(this.faces)) return false;
    this.steps.push(this.before);
    this.undone = [];
    this.before = copy(this.faces);
    return true;
  }

  undo() { return this.travel(this.steps, this.undone); }

  redo() { return this.travel(this.undone, this.steps); }

  travel(from, to) {
    if (!from.length) return false;
    to.push(this.before);
    this.before = from.pop();
    this.faces = copy(this.before);
    return true;
  }

  move(face, indices, dx, dy) {
    for (const i of indices) {
      const point = this.faces[face].landmarks[i];
      point[0] = round(point[0] + dx);
      point[1] = round(point[1] + dy);
    }
  }

  toggleVisible(face, indices) {
    const it = this.faces[face];
    const visible = it.visible ?? it.landmarks.map(() => true);
    const hide = indices.some((i) => visible[i]);
    for (const i of indices) visible[i] = !hide;
    if (visible.every(Boolean)) delete it.visible; else it.visible = visible;
  }

  remove(face) { this.faces.splice(face, 1); this.number(); }

  add(face) { this.faces.push(face); this.number(); }

  number() { this.faces.forEach((face, i) => { face.face_id = i; }); }

  sent() { return copy(this.faces); }
}
