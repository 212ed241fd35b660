// One window, zoom and tool for all pictures, so that they are compared as they are shown. What is drawn on the screen
// goes through a table of 256 grey levels; the pictures themselves stay as they are.
export default function ({ data, parentElement }) {
  const grid = parentElement.querySelector(".grid"), bar = parentElement.querySelector(".bar");
  const fresh = () => ({ low: 0, high: 255, zoom: 1, x: 0, y: 0, inverted: false, histogram: false });
  if (!grid.view) Object.assign(grid, { view: fresh(), tool: "window", of: "" });
  const of = JSON.stringify(data.pictures.map((picture) => [picture.src.length, picture.src.slice(-64), picture.caption]));
  grid.style.setProperty("--columns", data.columns);

  const draw = (canvas) => {
    const { view } = grid, { levels, side } = canvas;
    if (!levels) return;
    const wide = Math.max(1, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (canvas.width !== wide) { canvas.width = wide; canvas.height = wide; }
    const shown = new ImageData(side, canvas.tall), span = Math.max(1, view.high - view.low);
    for (let i = 0; i < levels.length; i++) {
      let grey = Math.min(255, Math.max(0, (levels[i] - view.low) * 255 / span));
      if (view.inverted) grey = 255 - grey;
      shown.data[4 * i] = shown.data[4 * i + 1] = shown.data[4 * i + 2] = grey;
      shown.data[4 * i + 3] = 255;
    }
    canvas.still.getContext("2d").putImageData(shown, 0, 0);
    const pen = canvas.getContext("2d"), scale = wide / Math.max(side, canvas.tall) * view.zoom;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000"; pen.fillRect(0, 0, wide, wide);
    canvas.scale = scale;
    canvas.left = (wide - side * scale) / 2 + view.x * wide; canvas.top = (wide - canvas.tall * scale) / 2 + view.y * wide;
    pen.imageSmoothingEnabled = scale < 8;  // far in, each pixel is seen as one
    pen.drawImage(canvas.still, canvas.left, canvas.top, side * scale, canvas.tall * scale);
    if (canvas.line) ruler(canvas, pen);
    if (view.histogram) bars(canvas, pen, wide);
    canvas.said.textContent = `W ${Math.round(view.high - view.low)} L ${Math.round((view.high + view.low) / 2)}` +
      (view.zoom === 1 ? "" : ` × ${view.zoom.toFixed(1)}`);
  };
  const ruler = (canvas, pen) => {
    const [a, b] = canvas.line.map(([x, y]) => [canvas.left + x * canvas.scale, canvas.top + y * canvas.scale]);
    const [[x0, y0], [x1, y1]] = canvas.line, unit = window.devicePixelRatio || 1;
    pen.strokeStyle = pen.fillStyle = "#ffd75e"; pen.lineWidth = 1.5 * unit; pen.font = `${13 * unit}px sans-serif`;
    pen.beginPath(); pen.moveTo(...a); pen.lineTo(...b); pen.stroke();
    pen.fillText(`${Math.hypot(x1 - x0, y1 - y0).toFixed(0)} px`, b[0] + 6 * unit, b[1] - 6 * unit);
  };
  const bars = (canvas, pen, wide) => {
    const counts = new Array(256).fill(0), width = wide * 0.4, tall = wide * 0.2, left = wide * 0.58, base = wide * 0.96;
    for (const level of canvas.levels) counts[level]++;
    const most = Math.max(...counts.slice(1, 255), 1);
    pen.fillStyle = "#0009"; pen.fillRect(left, base - tall, width, tall);
    pen.fillStyle = "#9fd3ff";
    counts.forEach((count, level) => {
      const high = Math.min(1, count / most) * tall;
      pen.fillRect(left + level / 256 * width, base - high, width / 256 + 0.5, high);
    });
    pen.fillStyle = "#ffd75e";
    for (const edge of [grid.view.low, grid.view.high])
      if (edge >= 0 && edge <= 255) pen.fillRect(left + edge / 256 * width, base - tall, 1.5, tall);
  };
  const all = () => {
    grid.querySelectorAll("canvas").forEach(draw);
    bar.querySelectorAll("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.tool === grid.tool));
    bar.querySelectorAll("[data-switch]").forEach((b) => b.setAttribute("aria-pressed", grid.view[b.dataset.switch]));
    // a finger that drags over a picture scrolls the page, unless a tool needs both directions
    grid.querySelectorAll("canvas").forEach((c) => (c.style.touchAction = grid.tool === "window" ? "pan-y" : "none"));
  };
  const zoom = (factor) => { grid.view.zoom = Math.min(16, Math.max(1, grid.view.zoom * factor)); all(); };
  const reset = () => { grid.view = fresh(); grid.querySelectorAll("canvas").forEach((c) => (c.line = null)); all(); };

  const place = (canvas, event) => {
    const box = canvas.getBoundingClientRect(), unit = canvas.width / box.width;
    return [((event.clientX - box.left) * unit - canvas.left) / canvas.scale,
            ((event.clientY - box.top) * unit - canvas.top) / canvas.scale];
  };
  const listen = (canvas, figure) => {
    let last = null;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
      if (grid.tool === "ruler") canvas.line = [place(canvas, event), place(canvas, event)];
    };
    canvas.onpointermove = (event) => {
      if (!last) return;
      const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]], { view } = grid;
      last = [event.clientX, event.clientY];
      if (grid.tool === "ruler") canvas.line[1] = place(canvas, event);
      else if (grid.tool === "move") { view.x += dx / canvas.clientWidth; view.y += dy / canvas.clientWidth; }
      else {
        const width = Math.max(2, view.high - view.low + dx), centre = (view.high + view.low) / 2 - dy / 2;
        view.low = centre - width / 2; view.high = centre + width / 2;
      }
      all();
    };
    canvas.onpointerup = canvas.onpointercancel = () => (last = null);
    canvas.onwheel = (event) => {  // elsewhere the wheel scrolls the page
      if (grid.tool !== "move") return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    };
    canvas.ondblclick = () => { grid.classList.toggle("one"); figure.classList.toggle("large"); all(); };
    canvas.onkeydown = (event) => {
      const keys = { i: () => { grid.view.inverted = !grid.view.inverted; all(); }, r: reset, "+": () => zoom(1.25),
        "-": () => zoom(0.8), Enter: canvas.ondblclick };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    };
  };
  bar.onclick = (event) => {
    const { tool, switch: turned, do: act } = event.target.dataset;
    if (tool) grid.tool = tool;
    if (turned) grid.view[turned] = !grid.view[turned];
    if (act) reset(); else all();
  };

  grid.draw = all;
  if (grid.of !== of) {
    grid.of = of; grid.view = fresh(); grid.classList.remove("one");
    grid.replaceChildren(...data.pictures.map((picture) => {
      const figure = document.createElement("figure"), frame = document.createElement("div");
      const canvas = document.createElement("canvas"), image = new Image();
      const mark = (name, text) => Object.assign(document.createElement("span"), { className: name, textContent: text });
      frame.className = "frame"; canvas.tabIndex = 0;
      canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", picture.caption || "radiograph");
      canvas.said = mark("said", "");
      frame.append(canvas, mark("r", "R"), mark("l", "L"), canvas.said);
      const caption = Object.assign(document.createElement("figcaption"), { textContent: picture.caption });
      figure.append(frame, caption);
      image.onload = () => {
        Object.assign(canvas, { side: image.naturalWidth, tall: image.naturalHeight });
        canvas.still = Object.assign(document.createElement("canvas"), { width: canvas.side, height: canvas.tall });
        const pen = canvas.still.getContext("2d", { willReadFrequently: true });
        pen.drawImage(image, 0, 0);
        canvas.levels = pen.getImageData(0, 0, canvas.side, canvas.tall).data.filter((_, i) => i % 4 === 0);
        draw(canvas);
      };
      image.src = picture.src;
      listen(canvas, figure);
      return figure;
    }));
    if (!grid.watched) grid.watched = new ResizeObserver(() => grid.draw());
    grid.watched.observe(grid);
  }
  all();
}
