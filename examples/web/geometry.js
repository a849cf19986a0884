// Similarity transforms, the init shape and the crop's frame: facealign_cli/geometry.py for the browser.
//
// Points are [x, y] in pixels with pixel centres at integers, so the middle of a square of side S lies at (S - 1) / 2.
// A transform {a, b, tx, ty} takes source to destination: x' = a·x - b·y + tx, y' = b·x + a·y + ty.

export const apply = ({ a, b, tx, ty }, [x, y]) => [a * x - b * y + tx, b * x + a * y + ty];

export const scaleOf = ({ a, b }) => Math.hypot(a, b);

export function inverse({ a, b, tx, ty }) {
  const norm = a * a + b * b;
  const [c, d] = [a / norm, -b / norm];
  return { a: c, b: d, tx: -(c * tx - d * ty), ty: -(d * tx + c * ty) };
}

// `first`, followed by `after`.
export function then(first, after) {
  const [tx, ty] = apply(after, [first.tx, first.ty]);
  return { a: after.a * first.a - after.b * first.b, b: after.b * first.a + after.a * first.b, tx, ty };
}

// A turn about a point; a positive angle turns x towards y.
export function rotation(degrees, [x, y] = [0, 0]) {
  const [a, b] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  return { a, b, tx: x - a * x + b * y, ty: y - b * x - a * y };
}

// The least-squares similarity that takes `from` to `to`, two lists of as many points.
export function estimate(from, to) {
  const mean = (points, axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
  const [fx, fy, tx, ty] = [mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1)];
  let [norm, a, b] = [0, 0, 0];
  from.forEach(([x, y], i) => {
    const [sx, sy, dx, dy] = [x - fx, y - fy, to[i][0] - tx, to[i][1] - ty];
    norm += sx * sx + sy * sy;
    a += sx * dx + sy * dy;
    b += sx * dy - sy * dx;
  });
  [a, b] = [a / norm, b / norm];
  return { a, b, tx: tx - a * fx + b * fy, ty: ty - b * fx - a * fy };
}

// [x1, y1, x2, y2] of the tight box around points.
export function boxOf(points) {
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

const middleOf = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];

// The mean shape in the middle of a square of `size` pixels, its larger extent `share` of the side.
export function frameShape(meanShape, size, share) {
  const box = boxOf(meanShape);
  const [[cx, cy], scale] = [middleOf(box), (share * size) / Math.max(box[2] - box[0], box[3] - box[1])];
  return meanShape.map(([x, y]) => [(x - cx) * scale + (size - 1) / 2, (y - cy) * scale + (size - 1) / 2]);
}

// The mean shape laid into a box: scaled by the mean of the width's and the height's ratio, middle on middle.
function shapeInBox(meanShape, box) {
  const mean = boxOf(meanShape);
  const scale = ((box[2] - box[0]) / (mean[2] - mean[0]) + (box[3] - box[1]) / (mean[3] - mean[1])) / 2;
  const [[cx, cy], [bx, by]] = [middleOf(mean), middleOf(box)];
  return meanShape.map(([x, y]) => [(x - cx) * scale + bx, (y - cy) * scale + by]);
}

// Where the landmarks start in a detector's box around a face that is turned by `roll` degrees.
//
// calibration: {left, top, right, bottom}, by which each edge moves, in shares of the box. It holds for upright faces,
// so it is applied in the quarter turn that brings the face nearest to upright; the rest of the turn is about the
// middle of the landmarks' box.
export function initShape(box, calibration, roll, meanShape) {
  const quarters = Math.round(roll / 90);
  const upright = rotation(-90 * quarters);
  const [x1, y1, x2, y2] = boxOf([apply(upright, [box[0], box[1]]), apply(upright, [box[2], box[3]])]);
  const [w, h] = [x2 - x1, y2 - y1];
  const { left, top, right, bottom } = calibration;
  const landmarksBox = [x1 + left * w, y1 + top * h, x2 + right * w, y2 + bottom * h];
  const turn = then(rotation(roll - 90 * quarters, middleOf(landmarksBox)), inverse(upright));
  return shapeInBox(meanShape, landmarksBox).map((point) => apply(turn, point));
}
