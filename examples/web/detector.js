// YuNet: from a picture to the boxes of faces, as facealign_cli/detectors/yunet.py does it.
//
// For each cell of three grids the network gives cls and obj, whose geometric mean is the score; the box's centre
// relative to the cell's corner, in cells, and the logarithm of its sides in cells; five points, likewise. Here pixel
// *edges* are at integers; `findFaces` goes over to pixel centres. All numbers come from settings.json, from Python.

import { estimate } from './geometry.js';
import { resized, rounded } from './pixels.js';

// The faces of a picture, best score first: {box: [x1, y1, x2, y2], score, roll}, roll in degrees, x towards y.
//
// run: takes a Float32Array and its dimensions to the network's outputs by name. settings: of the detector.
export async function findFaces(picture, run, settings) {
  const found = [];
  let small = picture;
  for (const scale of lookScales(Math.max(picture.width, picture.height), settings)) {
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(rounded(side * scale), 1));
    small = resized(small, width, height);
    const [sx, sy] = [picture.width / width, picture.height / height];
    for (const tile of tilesOf(small, settings)) {
      for (const face of await facesIn(small, tile, run, settings)) {
        const [x1, y1, x2, y2] = face.box;
        const points = face.points.map(([x, y]) => [x * sx, y * sy]);
        found.push({ box: [x1 * sx, y1 * sy, x2 * sx, y2 * sy], points, score: face.score });
      }
    }
  }
  const large = found.filter(({ box }) => box[3] - box[1] >= settings.too_small * settings.min_face);
  return suppressed(large, settings.nms_overlap).map((best) => averaged(best, large, settings.agrees)).map(({ box, score, points }) => ({
    box: box.map((edge) => edge - 0.5),
    score,
    roll: rollOf(points, settings.five_points),
  }));
}

// The scales at which a picture is looked at: the first brings the smallest face to what the network sees well, smaller
// ones follow while the picture could hold a face too large for the one before.
function lookScales(side, settings) {
  const scales = [Math.min(1, settings.smallest / settings.min_face)];
  while (side * scales.at(-1) > settings.largest) scales.push(scales.at(-1) * settings.next_look);
  return scales;
}

// A large picture is looked at in tiles, which bounds the memory.
const tilesOf = ({ width, height }, settings) =>
  spansOf(height, settings).flatMap((rows) => spansOf(width, settings).map((columns) => ({ rows, columns })));

// The tiles' rows (columns): begin to end, and first to last, between which the middles of its faces lie. They begin at
// whole cells.
function spansOf(extent, { tile, overlap }) {
  const begins = [];
  for (let begin = 0; begin < Math.max(extent - overlap, 1); begin += tile - overlap) begins.push(begin);
  return begins.map((begin, i) => ({
    begin,
    end: Math.min(begin + tile, extent),
    first: i === 0 ? -Infinity : begin + overlap / 2,
    last: i === begins.length - 1 ? Infinity : begins[i + 1] + overlap / 2,
  }));
}

async function facesIn(small, { rows, columns }, run, { score, strides }) {
  const { input, width, height } = networkInput(small, rows, columns, Math.max(...strides));
  const outputs = await run(input, [1, 3, height, width]);
  const inside = (middle, { first, last }) => middle >= first && middle < last;
  return strides
    .flatMap((stride) => decoded(outputs, stride, width / stride, score))
    .map((face) => ({
      ...face,
      box: face.box.map((value, i) => value + (i % 2 ? rows.begin : columns.begin)),
      points: face.points.map(([x, y]) => [x + columns.begin, y + rows.begin]),
    }))
    .filter(({ box }) => inside((box[0] + box[2]) / 2, columns) && inside((box[1] + box[3]) / 2, rows));
}

// A tile of an RGBA picture as planes of blue, green, red: raw values, black beyond the lower right.
function networkInput(picture, rows, columns, multiple) {
  const [width, height] = [columns, rows].map(({ begin, end }) => Math.ceil((end - begin) / multiple) * multiple);
  const input = new Float32Array(3 * width * height);
  for (let y = rows.begin; y < rows.end; y++) {
    for (let x = columns.begin; x < columns.end; x++) {
      const [from, to] = [4 * (y * picture.width + x), (y - rows.begin) * width + x - columns.begin];
      for (let c = 0; c < 3; c++) input[c * width * height + to] = picture.data[from + 2 - c];
    }
  }
  return { input, width, height };
}

// The faces of one grid that have at least `least` as their score.
function decoded(outputs, stride, columns, least) {
  const [cls, obj, bbox, kps] = ['cls', 'obj', 'bbox', 'kps'].map((kind) => outputs[`${kind}_${stride}`]);
  const clipped = (value) => Math.min(Math.max(value, 0), 1);
  const faces = [];
  for (let cell = 0; cell < cls.length; cell++) {
    const score = Math.sqrt(clipped(cls[cell]) * clipped(obj[cell]));
    if (score < least) continue;
    const corner = [cell % columns, Math.floor(cell / columns)];
    const [cx, cy] = [0, 1].map((axis) => corner[axis] + bbox[4 * cell + axis]);
    const [w, h] = [2, 3].map((side) => Math.exp(bbox[4 * cell + side]) / 2);
    const box = [cx - w, cy - h, cx + w, cy + h].map((value) => value * stride);
    const points = [0, 1, 2, 3, 4].map((p) =>
      [0, 1].map((axis) => (kps[10 * cell + 2 * p + axis] + corner[axis]) * stride),
    );
    faces.push({ box, points, score });
  }
  return faces;
}

// Non-maximum suppression: the best first, without those that overlap a better one by more than `most` of the union.
function suppressed(faces, most) {
  const kept = [];
  for (const face of [...faces].sort((one, other) => other.score - one.score || one.box[0] - other.box[0])) {
    if (kept.every((better) => overlap(better.box, face.box) <= most)) kept.push(face);
  }
  return kept;
}

// The best of one face, with the mean box and points of all that overlap it by `least` of the union, each by its score.
function averaged(best, faces, least) {
  const same = faces.filter(({ box }) => overlap(box, best.box) >= least);
  const total = same.reduce((sum, { score }) => sum + score, 0);
  const mean = (value) => same.reduce((sum, face) => sum + face.score * value(face), 0) / total;
  return {
    box: best.box.map((_, i) => mean(({ box }) => box[i])),
    points: best.points.map((_, p) => [0, 1].map((axis) => mean(({ points }) => points[p][axis]))),
    score: best.score,
  };
}

function overlap(one, other) {
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  return common / (area(one) + area(other) - common);
}

function rollOf(points, upright) {
  const { a, b } = estimate(upright, points);
  return (Math.atan2(b, a) * 180) / Math.PI;
}
