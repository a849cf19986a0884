"""The report's style sheet: light or dark as the reader has it, cards for tables on a phone, light in print."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #5a636e; --line: #d5d9de; --band: #eef3fa;
  --good: #6f9fd0; --bad: #a33c22; --mark: #a33c22; --disc: #a33c22;
  --c0: #005ba8; --c1: #c04a00; --c2: #00795a; --c3: #8a3a9c; --c4: #7a5c00; --c5: #b3206b; --c6: #3b6f8f; --c7: #555; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e8ebee; --soft: #a3acb6; --line: #3a4149;
  --band: #1e2935; --good: #5b93cc; --bad: #f08a6c; --mark: #f08a6c; --disc: #f08a6c;
  --c0: #6cb6ff; --c1: #ffa05c; --c2: #4fd1a5; --c3: #d79be8; --c4: #e3c04d; --c5: #ff8fc0; --c6: #8fc7e6;
  --c7: #bbb; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4em 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2em 0 .4em; }
p { margin: .4em 0 .8em; max-width: 46em; overflow-wrap: anywhere; }
a { color: var(--c0); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 8px 24px; margin: 1em 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 6px; text-align: right; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; font-weight: 600; line-height: 1.25; }
thead small { display: block; color: var(--soft); font-weight: 400; }
tbody th, thead th:first-child, th.prose, .prose { text-align: left; }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 11.5em; }
.prose { color: var(--soft); font-size: .8rem; line-height: 1.3; }
.ours { background: var(--band); }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
.strong { font-weight: 700; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 24px; }
.charts > figure { max-width: 520px; }
.grid { stroke: var(--line); fill: none; }
.mark { stroke: var(--mark); stroke-dasharray: 4 3; fill: none; }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); stroke-dasharray: 7 2; }
.c2 { stroke: var(--c2); stroke-dasharray: 3 2; }
.c3 { stroke: var(--c3); stroke-dasharray: 8 2 2 2; } .c4 { stroke: var(--c4); }
.c5 { stroke: var(--c5); stroke-dasharray: 7 2; }
.c6 { stroke: var(--c6); stroke-dasharray: 3 2; } .c7 { stroke: var(--c7); stroke-dasharray: 8 2 2 2; }
.good { fill: var(--good); } .bad { fill: var(--bad); }
.face { stroke: var(--soft); fill: none; stroke-width: 1; opacity: .6; }
.disc { fill: var(--disc); opacity: .55; }
.legend, .names { list-style: none; padding: 0; margin: 8px 0; font-size: .85rem; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend li { display: flex; gap: 6px; }
.key { flex: none; width: 24px; height: 8px; margin-top: .5em; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(134px, 1fr)); gap: 16px 12px; }
.gallery svg { border-radius: 4px; overflow: hidden; }
.gallery text { fill: #333; }
.blank { fill: #b8bdc3; }
.line, .dot { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.line { stroke-width: 1px; opacity: .8; } .dot { stroke-width: 3px; }
.truth { stroke: #35e06f; } .guess { stroke: #ff4fa3; }
.keys span { padding-left: 22px; position: relative; margin-right: 16px; }
.keys span::before { content: ""; position: absolute; left: 0; top: .45em; width: 16px; height: .3em;
  background: #35e06f; }
.keys .guess::before { background: #ff4fa3; }
@media screen and (min-width: 1180px) { thead small { white-space: nowrap; } }
@media screen and (max-width: 1070px) {
  thead { display: none; }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: 4px 16px;
    padding: 8px 12px; margin: 0 0 12px; border: 1px solid var(--line); border-radius: 6px; }
  tbody th { grid-column: 1 / -1; min-width: 0; padding: 0; border: 0; font-size: 1rem; }
  td { padding: 0; border: 0; text-align: left; overflow-wrap: anywhere; align-self: end; }
  td.none { display: none; }
  td::before { content: attr(data-label); display: block; color: var(--soft); font-size: .75rem; }
  td.prose { grid-column: 1 / -1; }
}
@media print {
  :root { --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --band: #eee; --good: #6f9fd0; --bad: #a33c22;
    --mark: #a33c22; --disc: #a33c22; --c0: #005ba8; --c1: #c04a00; --c2: #00795a; --c3: #8a3a9c; --c4: #7a5c00;
    --c5: #b3206b; --c6: #3b6f8f; --c7: #555; color-scheme: light; }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  table { font-size: 7pt; }
  th, td { padding: 2px 3px; }
  tbody th { min-width: 7em; }
  .prose { font-size: 6.5pt; }
  h2, h2 + p, .keys { break-after: avoid; }
  figure, tr, table { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .gallery { grid-template-columns: repeat(4, 1fr); }
}
"""

CLIP_STYLE = """
.plot { position: relative; margin: 10px 8px 26px 62px; touch-action: pan-y; cursor: crosshair; }
.plot svg { height: 100%; overflow: visible; }
.plot path { vector-effect: non-scaling-stroke; }
.plot .curve { stroke-dasharray: none; stroke-width: 1.4; stroke-linecap: round; }
.plot .blinks { stroke-width: 2; }
.plot .bar { stroke: none; }
.bar.c0 { fill: var(--c0); } .bar.c1 { fill: var(--c1); } .bar.c2 { fill: var(--c2); } .bar.c3 { fill: var(--c3); }
.bar.c4 { fill: var(--c4); } .bar.c5 { fill: var(--c5); } .bar.c6 { fill: var(--c6); } .bar.c7 { fill: var(--c7); }
.bar.broken { fill: var(--bad); }
.x, .y { position: absolute; color: var(--soft); font-size: .72rem; line-height: 1; white-space: nowrap; }
.y { right: 100%; margin-right: 6px; transform: translateY(-50%); }
.x { top: 100%; margin-top: 6px; transform: translateX(-50%); }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--ink); display: none; }
.reading .cursor { display: block; }
section figure figcaption { margin-top: 8px; }
.persons { gap: 6px; }
.persons button { display: flex; gap: 6px; font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 6px; padding: 4px 10px; min-height: 32px; align-items: center; }
.persons .key, #readout .key { margin: 0; }
.persons .key path, #readout .key path { stroke-dasharray: none; stroke-width: 3; }
.persons button[aria-pressed=false] { opacity: .45; text-decoration: line-through; }
.hide0 .p0, .hide1 .p1, .hide2 .p2, .hide3 .p3, .hide4 .p4, .hide5 .p5, .hide6 .p6, .hide7 .p7 { display: none; }
.stills { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 16px 12px; }
.stills img { display: block; width: 100%; height: auto; border-radius: 4px; }
#readout { position: fixed; left: 0; right: 0; bottom: 0; z-index: 1; max-height: 45vh; overflow: auto;
  background: var(--page); border-top: 2px solid var(--line); padding: 6px max(16px, calc(50vw - 584px)); }
#readout[hidden] { display: none; }
#readout p { margin: 0 0 2px; font-weight: 600; font-variant-numeric: tabular-nums; }
.values, .values tbody { display: table; width: 100%; } .values tbody { display: table-row-group; }
.values thead { display: table-header-group; }
#readout .values tr { display: table-row; border: 0; }
.values th, .values td { display: table-cell; padding: 1px 4px; font-size: .8rem; border: 0; text-align: right;
  min-width: 0; width: 14%; }
.values td::before { content: none; }
.values tbody th { display: flex; gap: 6px; align-items: center; font-size: .8rem; padding: 1px 4px; width: auto; }
.values thead th:first-child { text-align: left; }
.blinking td:nth-child(5) { font-weight: 700; }
.blinking td:nth-child(5)::before { content: "blink "; display: inline; font-weight: 400; }
body { padding-bottom: 8rem; }
@media print {
  body { padding: 0; }
  #readout, .cursor { display: none !important; }
  .persons button { border: 0; padding: 0; }
  .stills { grid-template-columns: 1fr 1fr 1fr; }
}
"""
"""What the page about a clip has besides."""
