// The list of pictures at the side: only the rows in sight exist, so that thousands cost nothing.

const ROW = 66;

export class List {
  constructor(element, choose) {
    Object.assign(this, { element, choose, rows: [], current: null, drawn: new Map() });
    this.inner = element.appendChild(document.createElement('div'));
    element.addEventListener('scroll', () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(element);
    element.addEventListener('keydown', (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault(); event.stopPropagation();
      const next = this.rows[this.rows.findIndex((row) => row.number === this.current) + step];
      if (next) this.choose(next.number);
    });
  }

  set(rows) {
    this.rows = rows;
    for (const node of this.drawn.values()) node.remove();
    this.drawn.clear();
    this.inner.style.height = `${rows.length * ROW}px`;
    this.draw();
  }

  select(number) {
    this.current = number;
    const place = this.rows.findIndex((row) => row.number === number);
    if (place >= 0) {
      const top = place * ROW; const { scrollTop, clientHeight } = this.element;
      if (top < scrollTop) this.element.scrollTop = top;
      else if (top + ROW > scrollTop + clientHeight) this.element.scrollTop = top + ROW - clientHeight;
    }
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW) - 3);
    const last = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + 3);
    for (const [place, node] of this.drawn) if (place < first || place >= last) { node.remove(); this.drawn.delete(place); }
    for (let place = first; place < last; place += 1) {
      const row = this.rows[place];
      let node = this.drawn.get(place);
      if (!node) { node = this.inner.appendChild(this.make(row, place)); this.drawn.set(place, node); }
      node.setAttribute('aria-selected', String(row.number === this.current));
      this.fill(node, row);
    }
  }

  make(row, place) {
    const node = document.createElement('div');
    node.className = 'item';
    node.setAttribute('role', 'option');
    node.style.top = `${place * ROW}px`;
    const image = document.createElement('img');
    image.alt = '';
    image.src = `thumbnail/${row.number}`;
    const text = document.createElement('div');
    text.append(document.createElement('b'), document.createElement('span'));
    node.append(image, text);
    node.addEventListener('click', () => this.choose(row.number));
    return node;
  }

  fill(node, row) {
    const [name, about] = node.lastChild.children;
    name.textContent = row.name.split('/').pop();
    node.title = row.name;
    const faces = row.error ? 'failed' : `${row.faces} face${row.faces === 1 ? '' : 's'}`;
    about.textContent = row.state === 'open' ? `${faces}, doubt ${row.score.toFixed(2)}` : `${faces}, ${row.state}`;
    about.className = row.state;
  }
}
