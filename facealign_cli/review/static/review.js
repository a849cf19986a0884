// The page: what is shown, what keys and buttons do, and when a step is saved.

import { Saver, getPicture, listPictures, placeFace, whyNoPicture } from './api.js';
import { Faces } from './faces.js';
import { List } from './list.js';
import { View } from './view.js';

const $ = (id) => document.getElementById(id);
let rows = []; let scheme; let view; let list; let faces = new Faces([]); let current = null; let whole = null;
let mode = 'point'; let selected = null; let loading = 0; let nudge = null; let unseen = null;

const saver = new Saver((news) => {
  const shown = $('saved');
  shown.classList.toggle('failed', news.state === 'failed' || news.state === 'refused');
  if (news.state === 'saving') shown.textContent = 'Saving …';
  if (news.state === 'saved') {
    Object.assign(rows[news.row.number], news.row);
    shown.textContent = saver.waiting.size ? 'Saving …' : 'Saved';
    showCounts(); list.draw();
  }
  if (news.state === 'failed') shown.textContent = `Not saved: ${news.message}. Trying again …`;
  if (news.state === 'refused') {
    shown.textContent = 'Not saved';
    notice(`The last step on ${rows[news.number].name} cannot be saved: ${news.message}.`, ['Close', () => {}]);
  }
  if (news.state === 'stale') askWhose(news);
});

function notice(text, ...buttons) {  // one below the other: a question stays until it is answered
  const line = document.createElement('div');
  const close = () => { line.remove(); $('notice').hidden = !$('notice').children.length; };
  line.append(text, ...buttons.map(([label, act]) => {
    const button = document.createElement('button');
    button.textContent = label;
    button.addEventListener('click', () => { close(); act(); });
    return button;
  }));
  $('notice').append(line);
  $('notice').hidden = false;
  return close;
}

function askWhose({ number, step }) {
  $('saved').textContent = 'Not saved';
  notice(`${rows[number].name} was changed in another window meanwhile.`,
    ['Take the other one', () => { saver.forget(number); open(number); }],
    ['Keep mine', async () => {
      saver.know(number, (await getPicture(number)).revision);
      saver.save(number, step.state, step.faces);
    }]);
}

// The list

function matching() {
  const wanted = $('filter').value; const text = $('search').value.toLowerCase();
  const found = rows.filter((row) => (wanted === 'all' || row.state === wanted || (wanted === 'none' && !row.faces))
    && row.name.toLowerCase().includes(text));
  return $('order').value === 'name' ? found.sort((a, b) => (a.name < b.name ? -1 : 1)) : found;
}

function showList() { list.set(matching()); list.select(current); }

function showCounts() {
  const count = (state) => rows.filter((row) => row.state === state).length;
  const [accepted, skipped] = [count('accepted'), count('skipped')];
  $('bar').max = rows.length; $('bar').value = accepted + skipped;
  $('counts').textContent = `${accepted + skipped} of ${rows.length} done: ${accepted} accepted, ${skipped} skipped`;
}

function neighbour(step) {
  const shown = list.rows; const place = shown.findIndex((row) => row.number === current);
  return shown[place + step]?.number ?? null;
}

// One picture

async function open(number) {
  flush();
  const turn = ++loading;
  unseen?.(); unseen = null;
  current = number; list.select(number);
  $('name').textContent = rows[number].name;
  history.replaceState(null, '', `#${number}`);
  try {
    while (saver.pending(number)) await new Promise((done) => setTimeout(done, 50));  // its revision is on its way
    const loaded = await getPicture(number);
    const image = await picture(number);
    if (turn !== loading) return;
    whole = loaded; faces = new Faces(loaded.faces); selected = null;
    saver.know(number, loaded.revision);
    Object.assign(rows[number], { state: loaded.state, revision: loaded.revision, faces: loaded.faces.length });
    if (image) view.show(image, loaded.width, loaded.height, faces.faces);
    else await sayUnseen(number);
    if (turn !== loading) return;
    if (image && faces.faces.length) view.fitFace(worst());
    showAll();
    const next = neighbour(1);
    if (next !== null) new Image().src = `picture/${next}`;  // so that the next one is there at once
  } catch (error) {
    if (turn !== loading) return;
    whole = null; faces = new Faces([]); view.show(null, 0, 0, []); showAll();
    unseen = notice(`${rows[number].name} cannot be shown: ${error.message}`, ['Close', () => {}]);
  }
}

async function picture(number) {  // null if it cannot be shown
  const image = new Image();
  image.src = `picture/${number}`;
  return image.decode().then(() => image, () => null);
}

async function sayUnseen(number) {  // it can be skipped, but nobody can say that its points are right
  const turn = loading;
  view.show(null, 0, 0, []);
  const why = await whyNoPicture(number) || 'the browser cannot read it';
  if (turn === loading) unseen = notice(`${rows[number].name} cannot be shown: ${why}`, ['Close', () => {}]);
}

function seen() { return view.image ? faces.faces : []; }  // what can be worked on

function worst() {
  const confidences = faces.faces.map((face) => face.confidence);
  return confidences.indexOf(Math.min(...confidences));
}

function showAll() {
  view.faces = seen(); view.selected = selected; view.draw();
  $('state').textContent = whole?.state ?? ''; $('state').className = `badge ${whole?.state ?? ''}`;
  $('undo').disabled = !faces.steps.length; $('redo').disabled = !faces.undone.length;
  $('hidden').disabled = selected?.point == null; $('remove').disabled = !seen().length;
  $('fitFace').disabled = !seen().length;
  $('skip').disabled = !whole;
  for (const id of ['accept', 'add']) $(id).disabled = !view.image;
  $('add').setAttribute('aria-pressed', String(Boolean(view.boxing)));
  if (view.boxing) $('hint').textContent = 'Draw a box from the brows to the chin, or press Enter for the dashed one.';
  else if (selected) {
    const face = faces.faces[selected.face]; const [x, y] = face.landmarks[selected.point];
    const hidden = face.visible && !face.visible[selected.point] ? ', not visible' : '';
    $('hint').textContent = `${scheme.names[selected.point]}: ${x.toFixed(1)}, ${y.toFixed(1)}${hidden}`;
  } else $('hint').textContent = whole && !faces.faces.length ? 'No face here.' : '';
}

function save() { if (whole) saver.save(current, whole.state, faces.sent()); }

function stepDone() { if (faces.done()) save(); showAll(); }

function flush() { if (nudge !== null) { clearTimeout(nudge); nudge = null; stepDone(); } }

function indicesOf(point, kind) {
  if (kind === 'face') return scheme.names.map((_, i) => i);
  return kind === 'part' ? scheme.groups[view.partOf[point]] : [point];
}

function movePoints(dx, dy, kind) {
  faces.move(selected.face, indicesOf(selected.point, kind), dx, dy);
  showAll();
}

function travel(way) {
  flush();
  if (faces[way]()) {
    if (selected && selected.face >= faces.faces.length) selected = null;
    save(); showAll();
  }
}

function finish(state) {
  if (!whole || (state === 'accepted' && !view.image)) return;
  flush();
  const next = neighbour(1);
  whole.state = state; rows[current].state = state;
  save(); showCounts();
  const before = current;
  if (next !== null) open(next); else { showAll(); $('hint').textContent = 'That was the last one in the list.'; }
  if ($('filter').value === 'open') setTimeout(() => { if (current !== before) showList(); }, 0); else list.draw();
}

function toggleHidden() {
  if (selected?.point == null) return;
  flush();
  faces.toggleVisible(selected.face, indicesOf(selected.point, mode === 'face' ? 'part' : mode));
  stepDone();
}

function removeFace() {
  if (!seen().length) return;
  flush();
  if (!selected && faces.faces.length > 1) { $('hint').textContent = 'Select a point of the face to delete.'; return; }
  faces.remove(selected?.face ?? 0); selected = null;
  stepDone();
}

function startBox() { if (view.image) { flush(); view.boxing = view.boxing ? null : {}; showAll(); } }

async function addFace(box) {
  const turn = loading;
  view.boxing = null; showAll(); $('hint').textContent = 'Placing points …';
  try {
    const face = await placeFace(current, box);
    if (turn !== loading) return;
    faces.add(face); selected = { face: faces.faces.length - 1, point: 30 };
    stepDone();
  } catch (error) { notice(`No points there: ${error.message}`, ['Close', () => {}]); }
  showAll();
}

function setMode(chosen) {
  mode = chosen;
  for (const button of document.querySelectorAll('[data-mode]')) {
    button.setAttribute('aria-checked', String(button.dataset.mode === chosen));
  }
}

function cycle(step) {
  if (!seen().length) return;
  flush();
  const count = scheme.names.length;
  selected = selected ? { face: selected.face, point: (selected.point + step + count) % count } : { face: worst(), point: 0 };
  showAll();
}

function cycleFace() {
  if (!seen().length) return;
  flush();
  const face = selected ? (selected.face + 1) % faces.faces.length : 0;
  selected = { face, point: selected?.point ?? 30 };
  view.fitFace(face); showAll();
}

// Keys

const KEYS = {
  Enter: () => (view.boxing ? addFace(view.middleBox()) : finish('accepted')),
  s: () => finish('skipped'),
  n: () => { const next = neighbour(1); if (next !== null) open(next); },
  p: () => { const back = neighbour(-1); if (back !== null) open(back); },
  1: () => setMode('point'), 2: () => setMode('part'), 3: () => setMode('face'),
  '.': () => cycle(1), ',': () => cycle(-1), g: cycleFace, v: toggleHidden, a: startBox, Delete: removeFace, Backspace: removeFace,
  '+': () => view.zoom(1.25), '=': () => view.zoom(1.25), '-': () => view.zoom(0.8), 0: () => view.fit(),
  f: () => { if (seen().length) view.fitFace(selected?.face ?? worst()); },
  '?': () => $('keys').showModal(),
  Escape: () => { flush(); view.boxing = null; selected = null; showAll(); },
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function arrow([x, y], event) {
  if (!selected || view.boxing) { view.pan(-40 * x, -40 * y); return; }
  const size = event.shiftKey ? 10 : event.altKey ? 0.1 : 1;
  movePoints(x * size, y * size, mode);
  clearTimeout(nudge);
  nudge = setTimeout(flush, 400);  // a held key is one step
}

document.addEventListener('keydown', (event) => {
  if (event.target.matches('input, select') || $('keys').open) return;
  if (event.target.matches('button') && ['Enter', ' '].includes(event.key)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    const way = key === 'z' ? (event.shiftKey ? 'redo' : 'undo') : key === 'y' ? 'redo' : null;
    if (way) { event.preventDefault(); travel(way); }
    return;
  }
  const act = ARROWS[event.key] ? () => arrow(ARROWS[event.key], event) : KEYS[key];
  if (act) { event.preventDefault(); act(); }
});

// Start

const buttons = { undo: () => travel('undo'), redo: () => travel('redo'), hidden: toggleHidden, add: startBox, remove: removeFace,
  zoomIn: KEYS['+'], zoomOut: KEYS['-'], fit: KEYS[0], fitFace: KEYS.f, help: KEYS['?'], back: KEYS.p,
  skip: () => finish('skipped'), accept: () => finish('accepted') };
for (const [id, act] of Object.entries(buttons)) $(id).addEventListener('click', act);
for (const button of document.querySelectorAll('[data-mode]')) button.addEventListener('click', () => setMode(button.dataset.mode));
const small = window.matchMedia('(max-width: 640px)');
$('menu').addEventListener('click', () => {
  const open_ = small.matches ? document.body.classList.toggle('wide') : !document.body.classList.toggle('narrow');
  $('menu').setAttribute('aria-expanded', String(open_));
});
$('menu').setAttribute('aria-expanded', String(!small.matches));
for (const id of ['filter', 'order']) $(id).addEventListener('change', showList);
$('search').addEventListener('input', showList);
window.addEventListener('beforeunload', (event) => { flush(); if (saver.unsaved) event.preventDefault(); });

const answer = await listPictures();
({ pictures: rows, scheme } = answer);
$('saved').title = `Every step is kept in ${answer.side_file}`;
list = new List($('list'), (number) => {
  if (small.matches && document.body.classList.contains('wide')) $('menu').click();  // it lies over the picture
  open(number);
});
view = new View($('canvas'), scheme, {
  select: (face, point) => { flush(); selected = face === null ? null : { face, point }; showAll(); },
  move: (_face, _point, dx, dy, part) => movePoints(dx, dy, part ? 'part' : mode),
  drop: stepDone,
  box: addFace,
});
if (!rows.some((row) => row.state === 'open')) $('filter').value = 'all';
showCounts(); showList();
const asked = Number(location.hash.slice(1));
const first = location.hash && rows[asked] ? asked : list.rows[0]?.number;
if (first !== undefined) open(first);
