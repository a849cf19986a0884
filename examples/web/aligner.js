// From a picture to faces with 68 landmarks, by ONNX Runtime's WebAssembly: what facealign_cli/aligner.py does.

import * as ort from './vendor/ort.wasm.bundle.min.mjs';
import { findFaces } from './detector.js';
import { apply, estimate, frameShape, initShape, inverse, scaleOf, then } from './geometry.js';
import { warpGrey } from './pixels.js';

const VENDOR = new URL('./vendor/', import.meta.url);
const BATCH = 16; // faces that go through the network together, which bounds the memory
const MOST_THREADS = 4; // more bring little to networks this small

export class Aligner {
  // Loads both graphs. threads: of ONNX Runtime; null: as many as are of use. Throws an Error that says what is missing.
  static async load(threads = null) {
    ort.env.wasm.wasmPaths = { wasm: new URL('ort-wasm-simd-threaded.wasm', VENDOR).href };
    // Threads share memory, which browsers allow only where the page came with COOP and COEP headers.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? (threads ?? Math.min(navigator.hardwareConcurrency, MOST_THREADS)) : 1;
    const settings = await (await fetched('settings.json')).json();
    const [detector, model] = [await session('detector.onnx'), await session(settings.model_file)];
    return new Aligner(settings, detector, model);
  }

  constructor(settings, detector, model) {
    Object.assign(this, { settings, detector, model, threads: ort.env.wasm.numThreads });
    this.shape = frameShape(settings.mean_shape, settings.crop_size, settings.crop_share);
  }

  // {faces, detectMs, faceMs}: the faces of an RGBA picture that are sure enough, best detector score first, how long
  // detection took, and how long a face did (crop and network).
  async align(picture) {
    const begin = performance.now();
    const found = await findFaces(picture, (data, dims) => this.#detect(data, dims), this.settings.detector);
    const detected = performance.now();
    const faces = [];
    for (let i = 0; i < found.length; i += BATCH) faces.push(...(await this.#place(picture, found.slice(i, i + BATCH))));
    const faceMs = found.length ? (performance.now() - detected) / found.length : null;
    await this.#lookAgain(found, faces);
    const sure = faces.filter(({ confidence }) => confidence >= this.settings.min_confidence);
    return { faces: sure, leftOut: faces.length - sure.length, detectMs: detected - begin, faceMs };
  }

  async #detect(data, dims) {
    const feeds = { [this.detector.inputNames[0]]: new ort.Tensor('float32', data, dims) };
    const outputs = await this.detector.run(feeds);
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
  }

  // Cuts the faces out of the picture and places their landmarks.
  async #place(picture, found) {
    const { crop_size: size, init_shape: init, detector } = this.settings;
    for (const face of found) {
      const transform = estimate(initShape(face.box, detector.calibration, face.roll, init), this.shape);
      Object.assign(face, { crop: warpGrey(picture, transform, size), back: inverse(transform) });
    }
    return this.#facesOf(found);
  }

  // What the network says of faces whose crop is there, and `back`, the way from it to the picture.
  async #facesOf(found) {
    const { crop_size: size } = this.settings;
    const crops = new Uint8Array(found.length * size * size);
    found.forEach(({ crop }, i) => crops.set(crop, i * size * size));
    const { landmarks, confidence, sigma } = await this.predict(crops, found.length);
    return found.map(({ box, score, back }, i) => {
      const points = rowOf(landmarks, i);
      return {
        box,
        score,
        confidence: Math.min(Math.max(confidence.data[i], 0), 1),
        landmarks: points.flatMap((x, k) => (k % 2 ? [] : [apply(back, [x, points[k + 1]])])),
        sigma: sigma ? rowOf(sigma, i).map((value) => value * scaleOf(back)) : null, // not every model has it
      };
    });
  }

  // Faces of little confidence may lie on their side or stand on their head: they are tried from the other quarter
  // turns, too, as facealign_cli/placing.py does it. What comes out beyond doubt takes the face's place.
  async #lookAgain(found, faces) {
    const { look_again: below, hardly, turns, doubtful } = this.settings;
    const least = faces.some(({ confidence }) => confidence >= below) ? hardly : 0;
    for (const [i, { confidence }] of faces.entries()) {
      if (confidence < least || confidence >= below) continue;
      const tries = await this.#facesOf(turns.map((turn) => this.#turned(found[i], turn)));
      const best = tries.reduce((one, other) => (other.confidence > one.confidence ? other : one));
      if (best.confidence >= doubtful) faces[i] = best;
    }
  }

  // A face as it is seen after another turn, out of its crop.
  #turned({ box, score, roll, crop, back }, turn) {
    const { crop_size: size, init_shape: init, detector } = this.settings;
    const shape = initShape(box, detector.calibration, roll + turn, init).map((point) => apply(inverse(back), point));
    const transform = estimate(shape, this.shape);
    const data = new Uint8ClampedArray(crop.length * 4).map((_, i) => (i % 4 === 3 ? 255 : crop[i >> 2]));
    const square = warpGrey({ width: size, height: size, data }, transform, size);
    return { box, score, crop: square, back: then(inverse(transform), back) };
  }

  // The landmark network's outputs, by name, for `count` grey crops one after the other.
  predict(crops, count) {
    const { crop_size: size } = this.settings;
    return this.model.run({ crop: new ort.Tensor('uint8', crops, [count, 1, size, size]) });
  }
}

// The values of one face of a tensor (N, …).
function rowOf({ data, dims }, i) {
  const length = data.length / dims[0];
  return [...data.subarray(i * length, (i + 1) * length)];
}

async function fetched(name) {
  const response = await fetch(new URL(name, VENDOR));
  if (!response.ok) throw new Error(`vendor/${name} is missing (${response.status}). Run "python prepare.py" first.`);
  return response;
}

async function session(name) {
  const graph = new Uint8Array(await (await fetched(name)).arrayBuffer());
  return ort.InferenceSession.create(graph, { executionProviders: ['wasm'], enableMemPattern: false });
}
