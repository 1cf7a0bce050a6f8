// A map over a film, in the colours and on the scale of the saved picture: one for all films of a bundle.

const ANCHORS = [[50, 8, 90], [122, 24, 120], [205, 62, 86], [246, 148, 38], [250, 232, 120]];
const OPAQUE = .65;

function colour(share) {
  const at = share * (ANCHORS.length - 1), first = Math.min(ANCHORS.length - 2, Math.floor(at));
  return ANCHORS[first].map((low, channel) => Math.round(low + (at - first) * (ANCHORS[first + 1][channel] - low)));
}

export function lay(canvas, map, rows, columns) {
  // Smoothed by the browser between the middles of the places; nothing is drawn at or below the floor.
  const [high, wide] = map.grid, [floor, full] = map.range, small = new OffscreenCanvas(wide, high);
  const context = small.getContext("2d"), image = context.createImageData(wide, high);
  map.values.flat().forEach((value, i) => {
    const share = full > floor ? Math.min(1, Math.max(0, (value - floor) / (full - floor))) : 0;
    image.data.set([...colour(share), 255 * OPAQUE * share], 4 * i);
  });
  context.putImageData(image, 0, 0);
  canvas.width = columns; canvas.height = rows;
  const over = canvas.getContext("2d");
  over.imageSmoothingQuality = "high";
  over.drawImage(small, 0, 0, columns, rows);
}

export function scale(box, map) {
  // The bar of colours with its values, and what is known of the map's worth.
  box.replaceChildren();
  const strip = document.createElement("canvas");
  strip.width = 256; strip.height = 1; strip.setAttribute("aria-hidden", "true");
  const context = strip.getContext("2d");
  for (let i = 0; i < 256; i++) { context.fillStyle = `rgb(${colour(i / 255).join(" ")})`; context.fillRect(i, 0, 1, 1); }
  const said = document.createElement("p");
  said.textContent = map.legend.join(" · ");
  const [first, last] = map.range.map(value => Object.assign(document.createElement("span"), {textContent: value.toFixed(4)}));
  last.textContent += " of cosine";
  box.append(first, strip, last, said);
}
