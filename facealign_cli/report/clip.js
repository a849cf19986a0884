"use strict";
// One moment for all charts of the page: that under the pointer, or the one that the arrow keys lead to.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const readout = document.getElementById("readout");
  const moment = document.getElementById("moment");
  const [start, end] = data.span;
  const unit = data.timed ? 1000 : 1;
  const sums = (steps) => { let sum = 0; return steps.map((step) => (sum += step)); };
  const begins = sums(data.time), frames = sums(data.frame);
  const ends = data.timeEnd && sums(data.timeEnd), lastFrames = data.frameEnd && sums(data.frameEnd);
  const persons = data.persons.map((person) => ({ ...person, columns: sums(person.columns) }));
  let shown = null;

  // The place of the greatest value of a rising list that is not above another; -1 if there is none.
  const lastUpTo = (list, value) => {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] <= value) low = middle + 1; else high = middle;
    }
    return low - 1;
  };

  const clock = (ms) => {
    const pad = (number, digits) => String(number).padStart(digits, "0");
    const minutes = Math.floor(ms / 60000), rest = `${pad(Math.floor(ms / 1000) % 60, 2)}.${pad(ms % 1000, 3)}`;
    return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${pad(minutes % 60, 2)}:${rest}`;
  };

  const text = (person, which, place) => {
    const low = person.low[which][place], high = person.high ? person.high[which][place] : low;
    if (low === null) return "–";
    const digits = data.decimals[which];
    const write = (value) => (value / 10 ** digits).toFixed(digits);
    return low === high ? write(low) : `${write(low)} to ${write(high)}`;
  };

  const blinking = (person, column) => {
    const from = begins[column], to = ends ? ends[column] : from;
    return person.blinks.some(([first, last]) => first <= to && last >= from);
  };

  const show = (column) => {
    shown = Math.max(0, Math.min(begins.length - 1, column));
    const from = begins[shown], to = ends ? ends[shown] : from;
    const at = 100 * ((from + to) / 2 / unit - start) / (end - start);
    for (const plot of plots) plot.querySelector(".cursor").style.left = `${at}%`;
    document.body.classList.add("reading");
    const frame = frames[shown], last = lastFrames ? lastFrames[shown] : frame;
    const times = !data.timed ? "" : to > from ? `${clock(from)} to ${clock(to)}, ` : `${clock(from)}, `;
    moment.textContent = times + (last > frame ? `frames ${frame} to ${last}` : `frame ${frame}`);
    persons.forEach((person, i) => {
      const row = readout.querySelector(`tbody .p${i}`), place = lastUpTo(person.columns, shown);
      const seen = place >= 0 && person.columns[place] === shown;
      [...row.querySelectorAll("td")].forEach((cell, which) => {
        cell.textContent = seen ? text(person, which, place) : which ? "" : "not seen";
      });
      row.classList.toggle("blinking", seen && blinking(person, shown));
    });
    readout.hidden = false;
  };

  const hide = () => {
    shown = null;
    readout.hidden = true;
    document.body.classList.remove("reading");
  };

  const under = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const time = unit * (start + (end - start) * (event.clientX - box.left) / box.width);
    let column = Math.max(0, lastUpTo(begins, time));
    if (!ends && column + 1 < begins.length && begins[column + 1] - time < time - begins[column]) column += 1;
    show(column);
  };

  for (const plot of plots) {
    plot.tabIndex = 0;
    plot.addEventListener("pointerdown", under);
    plot.addEventListener("pointermove", under);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) {
        show(shown === null ? 0 : shown + step * (event.shiftKey ? 25 : 1));
        event.preventDefault();
      } else if (event.key === "Escape") hide();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(".plot, #readout")) hide();
  });
  for (const button of document.querySelectorAll("[data-person]")) {
    button.addEventListener("click", () => {
      const hidden = document.body.classList.toggle(`hide${button.dataset.person}`);
      button.setAttribute("aria-pressed", String(!hidden));
    });
  }
})();
