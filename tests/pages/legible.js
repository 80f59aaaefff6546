// What a reader of a page would stumble over, as sentences; `readable(document)` finds them.

const SMALLEST_PX = 11, LEAST_CONTRAST = 4.5, SLACK_PX = 1;

function parts(colour) { // of the forms that getComputedStyle gives
  const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
  return { rgb: [red, green, blue], alpha };
}

function over(above, below) {
  return above.rgb.map((value, i) => value * above.alpha + below[i] * (1 - above.alpha));
}

function luminance(rgb) { // of WCAG 2.1
  const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function behind(text, box) { // what is painted below the middle of a text
  const found = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const layers = found.slice(found.indexOf(text) + 1).map((element) => {
    const style = getComputedStyle(element);
    if (!element.ownerSVGElement) return parts(style.backgroundColor.replace("transparent", "rgba(0,0,0,0)"));
    if (style.fill === "none") return { rgb: [0, 0, 0], alpha: 0 };
    const fill = parts(style.fill);
    return { rgb: fill.rgb, alpha: fill.alpha * style.fillOpacity * style.opacity };
  });
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}

function meet(a, b) {
  return Math.min(a.right, b.right) - Math.max(a.left, b.left) > SLACK_PX
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > SLACK_PX;
}

function ofPicture(svg) {
  const faults = [], frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim());
  const boxes = texts.map((text) => text.getBoundingClientRect());
  texts.forEach((text, i) => {
    const box = boxes[i], says = `"${text.textContent}"`;
    const px = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
    if (px < SMALLEST_PX) faults.push(`${says} is ${px.toFixed(1)} px high`);
    const ratio = contrast(parts(getComputedStyle(text).fill).rgb, behind(text, box));
    if (ratio < LEAST_CONTRAST) faults.push(`${says} has a contrast of ${ratio.toFixed(1)}`);
    if (box.left < frame.left - SLACK_PX || box.right > frame.right + SLACK_PX
      || box.top < frame.top - SLACK_PX || box.bottom > frame.bottom + SLACK_PX) faults.push(`${says} is cut off`);
    const other = boxes.findIndex((each, j) => j < i && meet(each, box));
    if (other >= 0) faults.push(`${says} lies on "${texts[other].textContent}"`);
  });
  return faults;
}

function ofPage() {
  const faults = [], ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  ids.filter((id, i) => ids.indexOf(id) < i).forEach((id) => faults.push(`the id ${id} is there twice`));
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (element.closest("svg *")) continue; // see ofPicture
    const head = element.closest("thead");
    if (head && getComputedStyle(head).clipPath !== "none") continue; // for readers by ear only
    if (box.right > innerWidth + SLACK_PX || box.left < -SLACK_PX) faults.push(`${element.outerHTML.slice(0, 80)} is cut off`);
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (own && parseFloat(style.fontSize) < SMALLEST_PX) faults.push(`"${element.textContent}" is too small`);
  }
  return faults;
}

async function readable() {
  const { violations } = await axe.run();
  return [
    ...violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`)),
    ...[...document.querySelectorAll("svg")].flatMap(ofPicture),
    ...ofPage(),
  ];
}

addEventListener("load", async () => {
  let faults;
  try { faults = await readable(); } catch (error) { faults = [String(error.stack)]; }
  parent.postMessage({ width: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches, faults }, "*");
});
