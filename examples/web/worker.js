// Runs the aligner beside the page, so that the page answers while a large picture is looked at.
//
// Its address may have ?threads=N. Takes {id, bitmap}, gives {id, …result of align} or {id, error}; first of all {ready} or {error}.

import { Aligner } from './aligner.js';
import { pixelsOf } from './pixels.js';

const threads = Number(new URLSearchParams(location.search).get('threads'));
const loading = Aligner.load(threads || null);
loading.then(
  ({ settings, threads }) => postMessage({ ready: { settings, threads } }),
  (error) => postMessage({ error: error.message }),
);

let queue = loading;
onmessage = ({ data }) => {
  queue = queue.catch(() => {}).then(() => work(data)); // one picture after the other
};

async function work({ id, bitmap }) {
  try {
    const picture = pixelsOf(bitmap);
    bitmap.close();
    postMessage({ id, ...(await (await loading).align(picture)) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}
