// Draws faces onto the canvas: light lines on dark ones, as wide as the face is large.

const COLOURS = ['#5ae1ff', '#ffcd5f', '#78ebbe', '#ffaadc', '#ffaa78', '#f5fa8c'];

export const colourOf = (index) => COLOURS[index % COLOURS.length];

// source: what the canvas can draw, of (width, height) pixels. settings: contours and the confidence below which a
// face is doubtful; its lines are dashed.
export function draw(canvas, source, width, height, faces, settings) {
  const scale = Math.min(3, 1600 / Math.max(width, height)); // fine lines on small pictures, no huge canvas for large ones
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext('2d');
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const place = ([x, y]) => [((x + 0.5) * canvas.width) / width, ((y + 0.5) * canvas.height) / height];
  faces.forEach((face, i) => drawFace(context, face, place, colourOf(i), settings));
}

function drawFace(context, face, place, colour, { contours, doubtful }) {
  const points = face.landmarks.map(place);
  const [top, bottom] = [points[27][1], points[8][1]]; // bridge of the nose and chin
  const line = Math.max(0.8, Math.min(Math.abs(bottom - top) / 110, 5));
  const path = new Path2D();
  for (const { points: indices, closed } of contours) {
    indices.forEach((index, i) => (i ? path.lineTo(...points[index]) : path.moveTo(...points[index])));
    if (closed) path.lineTo(...points[indices[0]]);
  }
  context.lineJoin = 'round';
  context.setLineDash(face.confidence < doubtful ? [3 * line, 3 * line] : []);
  for (const [style, width] of [['#0009', 2.4 * line], [colour, line]]) {
    [context.strokeStyle, context.lineWidth] = [style, width];
    context.stroke(path);
  }
  for (const [style, radius] of [['#000b', 1.9 * line], ['white', 1.2 * line]]) {
    context.fillStyle = style;
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
