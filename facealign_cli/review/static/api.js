// Talks to the server, and saves steps one after the other: a step that fails is tried again until it stands.

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Refused(answer.status, body.error);
  return body;
}

const send = (method, body) => ({ method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

export const listPictures = () => call('api/pictures');
export const getPicture = (number) => call(`api/pictures/${number}`);
export const whyNoPicture = (number) => call(`picture/${number}`).then(() => '', (error) => error.message);
export const placeFace = (number, bbox) => call(`api/pictures/${number}/place`, send('POST', { bbox }));

export class Saver {
  // told({state: 'saving'|'saved'|'failed'|'stale', ...}): what to show.
  constructor(told) { this.told = told; this.waiting = new Map(); this.revisions = new Map(); this.busy = false; }

  pending(number) { return this.waiting.has(number) || this.saving === number; }

  get unsaved() { return this.busy || this.waiting.size > 0; }

  know(number, revision) { this.revisions.set(number, revision); }

  save(number, state, faces) {  // only the last state of a picture has to reach the server
    this.waiting.set(number, { state, faces });
    if (!this.busy) this.run();
  }

  forget(number) { this.waiting.delete(number); }

  async run() {
    this.busy = true;
    while (this.waiting.size) {
      const [number, step] = this.waiting.entries().next().value;
      this.waiting.delete(number);
      this.saving = number;
      this.told({ state: 'saving' });
      const revision = this.revisions.get(number);
      try {
        const row = await call(`api/pictures/${number}`, send('PUT', { revision, ...step }));
        this.know(number, row.revision);
        this.told({ state: 'saved', row });
      } catch (error) {
        if (error.status === 409) { this.told({ state: 'stale', number, step }); continue; }
        if ([400, 403, 413].includes(error.status)) { this.told({ state: 'refused', number, message: error.message }); continue; }
        if (!this.waiting.has(number)) this.waiting.set(number, step);
        this.told({ state: 'failed', message: error.message });
        await new Promise((done) => setTimeout(done, 1500));
      }
    }
    this.saving = null;
    this.busy = false;
  }
}
