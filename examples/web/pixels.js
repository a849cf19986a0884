// Pictures as arrays: {width, height, channels, data}, 8 bits, by rows; colours in the order red, green, blue.
//
// The arithmetic is OpenCV's, with its fixed-point numbers, so that the networks see to the last bit what they see in
// Python: a detector's box that is 0.1 px elsewhere can move a landmark on a cheek by 0.6 px.

import { apply, inverse, scaleOf, then } from './geometry.js';

// To the nearest whole number, halves to the even one, as OpenCV and Python round.
export function rounded(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

// The pixels of an ImageBitmap or a video frame; what is transparent is laid onto white.
export function pixelsOf(source, width = source.width, height = source.height) {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return { width, height, channels: 4, data: context.getImageData(0, 0, width, height).data };
}

// The mean of each whole block of factor × factor pixels.
export function averaged({ width, height, channels, data }, factor) {
  const [columns, rows] = [Math.floor(width / factor), Math.floor(height / factor)];
  const small = new Uint8ClampedArray(columns * rows * channels);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < factor; j++) {
          const row = ((y * factor + j) * width + x * factor) * channels + c;
          for (let i = 0; i < factor; i++) sum += data[row + i * channels];
        }
        // The array rounds halves to the even number, which OpenCV does too, but not for blocks of 2 × 2.
        small[(y * columns + x) * channels + c] = factor === 2 ? (sum + 2) >> 2 : sum / (factor * factor);
      }
    }
  }
  return { width: columns, height: rows, channels, data: small };
}

// Averaged by a whole factor, then bilinear; the same field of view in other pixels.
export function resized(picture, width, height) {
  const factor = Math.floor(Math.min(picture.width / width, picture.height / height) + 1e-6);
  const from = factor >= 2 ? averaged(picture, factor) : picture;
  if (from.width === width && from.height === height) return from;
  const { channels, data } = from;
  const [columns, rows] = [neighbours(from.width, width), neighbours(from.height, height)];
  const to = new Uint8ClampedArray(width * height * channels);
  for (let y = 0; y < height; y++) {
    const [upper, lower] = [rows.first[y] * from.width, rows.second[y] * from.width];
    const [top, bottom] = [ONE - rows.share[y], rows.share[y]];
    for (let x = 0; x < width; x++) {
      const [left, right, share] = [columns.first[x], columns.second[x], columns.share[x]];
      for (let c = 0; c < channels; c++) {
        const above = data[(upper + left) * channels + c] * (ONE - share) + data[(upper + right) * channels + c] * share;
        const below = data[(lower + left) * channels + c] * (ONE - share) + data[(lower + right) * channels + c] * share;
        const sum = ((top * (above >> 4)) >> 16) + ((bottom * (below >> 4)) >> 16);
        to[(y * width + x) * channels + c] = (sum + 2) >> 2;
      }
    }
  }
  return { width, height, channels, data: to };
}

const ONE = 2048; // shares are fixed-point numbers of 11 bits

// Of each of `to` pixels along an axis of `from` pixels: the two between which its centre lies, the second one's share.
function neighbours(from, to) {
  const [first, second, share] = [new Int32Array(to), new Int32Array(to), new Int32Array(to)];
  for (let i = 0; i < to; i++) {
    const at = Math.min(Math.max(Math.fround((i + 0.5) * (from / to) - 0.5), 0), from - 1);
    first[i] = Math.floor(at);
    second[i] = Math.min(first[i] + 1, from - 1);
    share[i] = rounded((at - first[i]) * ONE);
  }
  return { first, second, share };
}

// The grey of a part of an RGBA picture.
function greyPart({ width, data }, x1, y1, columns, rows) {
  const grey = new Uint8ClampedArray(columns * rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const at = 4 * ((y + y1) * width + x + x1);
      grey[y * columns + x] = (9798 * data[at] + 19235 * data[at + 1] + 3735 * data[at + 2] + (1 << 14)) >> 15;
    }
  }
  return { width: columns, height: rows, channels: 1, data: grey };
}

// A (size × size) grey square out of an RGBA picture, bilinear, zeros outside: `geometry.warp` of facealign_cli.
//
// transform: picture → square. Where the picture is more than twice as fine as the square, the part that is needed is
// first averaged down by a whole factor, so that a face of 2000 pixels gives as smooth a crop as one of 200.
export function warpGrey(picture, transform, size) {
  const reduce = Math.max(1, Math.floor(1 / scaleOf(transform) + 1e-6));
  const region = regionOf(picture, transform, size, reduce);
  const square = new Uint8ClampedArray(size * size);
  if (region === null) return square;
  const part = averaged(greyPart(picture, ...region), reduce);
  // A reduced pixel i covers reduce·i … reduce·i + reduce - 1; its centre is reduce·i + (reduce - 1) / 2.
  const centre = (reduce - 1) / 2;
  const toPicture = { a: reduce, b: 0, tx: region[0] + centre, ty: region[1] + centre };
  sample(part, inverse(then(toPicture, transform)), size, square);
  return square;
}

// Bilinear, at places in 1/32 of a pixel, each the sum of a row's and a column's in 1/1024.
function sample({ width, height, data }, { a, b, tx, ty }, size, square) {
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : data[y * width + x]);
  for (let row = 0; row < size; row++) {
    const [rowX, rowY] = [rounded((tx - b * row) * 1024) + 16, rounded((ty + a * row) * 1024) + 16];
    for (let column = 0; column < size; column++) {
      const [x, y] = [(rowX + rounded(a * column * 1024)) >> 5, (rowY + rounded(b * column * 1024)) >> 5];
      const [left, top, fx, fy] = [x >> 5, y >> 5, x & 31, y & 31];
      const above = at(left, top) * (32 - fx) + at(left + 1, top) * fx;
      const below = at(left, top + 1) * (32 - fx) + at(left + 1, top + 1) * fx;
      square[row * size + column] = (above * (32 - fy) + below * fy + 512) >> 10;
    }
  }
}

// x, y, width, height of what a square needs of a picture, whole multiples of `reduce`; null where it lies outside.
function regionOf({ width, height }, transform, size, reduce) {
  const back = inverse(transform);
  const [x, y] = apply(back, [(size - 1) / 2, (size - 1) / 2]);
  const reach = ((Math.abs(back.a) + Math.abs(back.b)) * (size + 1)) / 2; // the square with a pixel around it
  const begin = (middle, end) => Math.min(Math.max(Math.floor(middle - reach) - reduce, 0), end);
  const finish = (middle, end) => Math.min(Math.max(Math.ceil(middle + reach) + reduce + 1, 0), end);
  const [x1, y1] = [begin(x, width), begin(y, height)];
  const whole = (length) => Math.floor(length / reduce) * reduce;
  const [columns, rows] = [whole(finish(x, width) - x1), whole(finish(y, height) - y1)];
  return columns < 1 || rows < 1 ? null : [x1, y1, columns, rows];
}
