// The page: a picture or the camera in, landmarks drawn, JSON out.

import { colourOf, draw } from './draw.js';

const MOST_PIXELS = 60e6;
const $ = (id) => document.getElementById(id);
const worker = new Worker(`worker.js${location.search}`, { type: 'module' }); // ?threads=1 compares
let settings = null; // from Python, once the networks are there
let document_ = null; // the last result, as a facealign/2 document
let latest = 0; // the number of the last picture that was asked for
let stream = null; // the camera's, while it runs
const waiting = new Map(); // number of a picture → what takes its result

worker.onmessage = ({ data: { id, ready, ...result } }) => {
  if (ready) {
    settings = ready.settings;
    $('threads').textContent = ready.threads === 1 && !self.crossOriginIsolated ? '1 (no COOP/COEP)' : ready.threads;
    for (const control of document.querySelectorAll('[disabled]')) control.disabled = false;
    say(`Ready: ${settings.model}, ${settings.detector.name}.`);
  } else if (id === undefined) {
    say(result.error, true);
  } else {
    waiting.get(id)(result);
    waiting.delete(id);
  }
};
worker.onerror = () => say('The networks could not be loaded: is the page served by a web server?', true);

function say(text, failed = false) {
  $('state').textContent = text;
  $('state').classList.toggle('failed', failed);
}

// Runs one picture; null if another one was asked for meanwhile. Throws what the worker says.
async function align(bitmap) {
  const id = ++latest;
  const result = await new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, bitmap }, [bitmap]);
  });
  if (result.error) throw new Error(result.error);
  return id === latest ? result : null;
}

// Orientation as the camera noted it; colour profiles left alone, as Python does: the networks want raw values.
const decode = (blob) =>
  createImageBitmap(blob, { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' });

async function showPicture(blob, name) {
  stopCamera();
  say(`Looking at ${name} …`);
  let shown;
  try {
    shown = await decode(blob);
  } catch {
    say(`${name} is not a picture that this browser can read.`, true);
    return;
  }
  const { width, height } = shown;
  if (width * height > MOST_PIXELS) {
    say(`${name} has ${Math.round((width * height) / 1e6)} megapixels; this page takes up to ${MOST_PIXELS / 1e6}.`, true);
    return;
  }
  try {
    const result = await align(await createImageBitmap(shown));
    if (result) show(shown, name, width, height, result);
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  }
}

function show(source, name, width, height, result) {
  $('canvas').hidden = false;
  $('empty').hidden = true;
  draw($('canvas'), source, width, height, result.faces, settings);
  document_ = documentOf(name, width, height, result.faces);
  const count = result.faces.length;
  const leftOut = result.leftOut ? ` ${result.leftOut} of too little confidence left out.` : '';
  say(`${count ? `${count} ${count === 1 ? 'face' : 'faces'}` : 'No face'} in ${name}.${leftOut}`);
  $('faces').hidden = !count;
  $('faces').tBodies[0].replaceChildren(...result.faces.map(rowOf));
  for (const id of ['speed', 'output', 'details']) $(id).hidden = false;
  $('face-ms').textContent = result.faceMs === null ? '–' : `${result.faceMs.toFixed(1)} ms`;
  $('detect-ms').textContent = `${result.detectMs.toFixed(0)} ms`;
  if ($('details').open) writeJson();
}

function rowOf(face, i) {
  const row = document.createElement('tr');
  const [x1, y1, x2, y2] = face.box;
  const doubt = face.confidence < settings.doubtful ? ' (doubtful)' : '';
  const size = `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px`;
  for (const text of [String(i), face.confidence.toFixed(2) + doubt, size]) row.insertCell().textContent = text;
  const chip = document.createElement('span');
  chip.className = 'chip';
  chip.style.background = colourOf(i);
  row.cells[0].prepend(chip);
  return row;
}

// The document that facealign itself writes, so that its other commands read it.
function documentOf(source, width, height, faces) {
  const rounded = (value, decimals) => Number(value.toFixed(decimals));
  const result = {
    source, status: faces.length ? 'ok' : 'no_face', error: null, warning: null, width, height, frame: null,
    timestamp_s: null, scheme: settings.scheme, model: settings.model, provider: settings.runtime,
    detector: settings.detector.name,
    faces: faces.map((face, i) => ({
      face_id: i,
      track_id: null,
      bbox: face.box.map((value) => rounded(value, 3)),
      detector_score: rounded(face.score, 4),
      confidence: rounded(face.confidence, 4),
      landmarks: face.landmarks.map((point) => point.map((value) => rounded(value, 3))),
      sigma: face.sigma && face.sigma.map((value) => rounded(value, 3)),
    })),
  };
  return { schema: 'facealign/2', version: settings.version, results: [result] };
}

const jsonText = () => JSON.stringify(document_);

function writeJson() {
  $('json').textContent = jsonText();
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, true);
    return;
  }
  $('camera').setAttribute('aria-pressed', 'true');
  $('camera').textContent = 'Stop camera';
  const video = Object.assign(document.createElement('video'), { srcObject: stream, muted: true, playsInline: true });
  const own = stream;
  await video.play();
  while (stream === own) {
    const shown = await createImageBitmap(video);
    try {
      const result = await align(await createImageBitmap(shown));
      if (result && stream === own) show(shown, 'camera', shown.width, shown.height, result);
    } catch (error) {
      say(error.message, true);
      stopCamera();
    }
    shown.close();
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $('camera').setAttribute('aria-pressed', 'false');
  $('camera').textContent = 'Camera';
}

$('file').onchange = ({ target }) => {
  if (target.files.length) showPicture(target.files[0], target.files[0].name);
  target.value = ''; // so that the same picture can be chosen again
};
$('example').onclick = async () => showPicture(await (await fetch('vendor/sample.jpg')).blob(), 'sample.jpg');
$('camera').onclick = () => (stream ? stopCamera() : startCamera());
$('details').ontoggle = () => $('details').open && writeJson();
$('copy').onclick = async () => {
  await navigator.clipboard.writeText(jsonText());
  say('The JSON is in the clipboard.');
};
$('save').onclick = () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([jsonText()], { type: 'application/json' }));
  link.download = 'faces.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

const stage = $('stage');
stage.ondragover = (event) => {
  event.preventDefault();
  stage.classList.add('over');
};
stage.ondragleave = () => stage.classList.remove('over');
stage.ondrop = (event) => {
  event.preventDefault();
  stage.classList.remove('over');
  takeFile(event.dataTransfer.files[0]);
};
document.onpaste = (event) => takeFile(event.clipboardData.files[0]);
const takeFile = (file) => settings && file && showPicture(file, file.name);
