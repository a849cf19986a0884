// face-api.js in a process of its own, for peers.py: the protocol of peer_worker.py, spoken by Node.
//
//     node benchmarks/peer_faceapi.mjs NAME THREADS FOLDER
//
// NAME: face-api or face-api-tiny. FOLDER: where `npm install @vladmandic/face-api @tensorflow/tfjs
// @tensorflow/tfjs-backend-wasm` was run. TensorFlow.js runs on its WebAssembly back end (SIMD, and threads for two).
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const [name, threads, folder] = process.argv.slice(2);
const say = (value) => fs.writeSync(1, JSON.stringify(value) + '\n');
console.log = console.warn = console.info = () => {};

const rss = () => process.memoryUsage().rss / 2 ** 20;
const grow = (edges) => ([x1, y1, x2, y2]) => {
  const [w, h] = [x2 - x1, y2 - y1];
  return [x1 + edges[0] * w, y1 + edges[1] * h, x2 + edges[2] * w, y2 + edges[3] * h];
};
const options = {
  'as given': (box) => box,
  'grown by 10 % a side': grow([-0.1, -0.1, 0.1, 0.1]),
  'grown by 20 % a side': grow([-0.2, -0.2, 0.2, 0.2]),
  'grown by 10 % at top and bottom': grow([0, -0.1, 0, 0.1]),
};

async function load() {
  const before = rss();
  const require = createRequire(path.join(path.resolve(folder), 'package.json'));
  const tf = require('@tensorflow/tfjs');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist') + '/');
  wasm.setThreadsCount(Number(threads));
  await tf.setBackend('wasm');
  await tf.ready();
  const home = path.dirname(require.resolve('@vladmandic/face-api/package.json'));
  const faceapi = require(path.join(home, 'dist', 'face-api.node-wasm.js'));
  const file = name === 'face-api-tiny' ? 'face_landmark_68_tiny_model' : 'face_landmark_68_model';
  const net = name === 'face-api-tiny' ? faceapi.nets.faceLandmark68TinyNet : faceapi.nets.faceLandmark68Net;
  await net.loadFromDisk(path.join(home, 'model'));
  const version = JSON.parse(fs.readFileSync(path.join(home, 'package.json'))).version;
  const file_bytes = fs.statSync(path.join(home, 'model', `${file}.bin`)).size;
  return { tf, net, hello: { version, file_bytes, options: Object.keys(options), rss_before: before } };
}

// Cuts the box out of raw BGR pixels, as RGB floats, black outside the picture.
function cut(pixels, [height, width], [x1, y1, x2, y2]) {
  const [left, top] = [Math.round(x1), Math.round(y1)];
  const [w, h] = [Math.max(1, Math.round(x2) - left), Math.max(1, Math.round(y2) - top)];
  const crop = new Float32Array(w * h * 3);
  for (let y = Math.max(0, -top); y < Math.min(h, height - top); y++) {
    for (let x = Math.max(0, -left); x < Math.min(w, width - left); x++) {
      const from = 3 * ((y + top) * width + x + left);
      const to = 3 * (y * w + x);
      for (let c = 0; c < 3; c++) crop[to + c] = pixels[from + 2 - c];
    }
  }
  return { crop, w, h, left, top };
}

async function predict({ tf, net }, face, option) {
  const pixels = fs.readFileSync(face.file);
  const start = performance.now();
  const { crop, w, h, left, top } = cut(pixels, face.shape, options[option](face.box));
  const input = tf.tensor3d(crop, [h, w, 3]);
  const found = await net.detectLandmarks(input);
  const points = found.positions.map((p) => [p.x + left, p.y + top]);
  input.dispose();
  return { points, ms: performance.now() - start };
}

let peer;
try {
  peer = await load();
} catch (error) {
  say({ missing: String(error.message).split('\n')[0] });
  process.exit(0);
}
say(peer.hello);
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const results = [];
  for (const face of request.faces) results.push(await predict(peer, face, request.option));
  say({ landmarks: results.map((r) => r.points), ms: results.map((r) => r.ms), rss: rss() });
}
process.exit(0);
