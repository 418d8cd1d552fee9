// What a browser knows of a page that it has laid out, as lists of what is wrong: an empty list is a page as it should be.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const shown = (element) => element.getClientRects().length > 0;
  const short = (element) => `${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""} ${element.textContent.trim().slice(0, 60)}`;
  const style = (element, name) => getComputedStyle(element)[name];

  // Contrast as WCAG 2.2 defines it, from relative luminance.
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => channels(colour).slice(0, 3).map((value) => linear(value / 255)).reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const opaque = (colour) => (channels(colour)[3] ?? 1) === 1;
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) if (opaque(style(at, "backgroundColor"))) return style(at, "backgroundColor");
    return "rgb(255, 255, 255)";
  };
  const contrast = (element, colour) => {
    const [less, more] = [luminance(colour), luminance(behind(element))].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const faint = (elements, property, least) =>
    elements.filter(shown).map((element) => [contrast(element, style(element, property(element))), element])
      .filter(([ratio]) => ratio < least).map(([ratio, element]) => `${ratio.toFixed(2)}: ${short(element)}`);
  const written = () => all("body *").filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));

  // A series is told by its dash and its mark: what it is drawn with, but for colour.
  const dash = (line) => style(line, "strokeDasharray");
  const form = (mark) => mark ? `${mark.tagName} ${mark.getAttribute("d") ?? ""}` : "";
  const keys = (figure) => all(".legend .key", figure).map((key) => `${dash(key.querySelector(".line"))} ${form(key.querySelector(".mark"))}`);
  const drawn = (figure) => all(":scope > svg > .line", figure).map((line) => {
    const next = line.nextElementSibling;
    return `${dash(line)} ${form(next?.classList.contains("mark") ? next : null)}`;
  });

  // A character without a glyph is drawn as the same box as any other.
  const bitmap = (character) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [40, 40];
    const context = canvas.getContext("2d");
    context.font = `32px ${style(document.body, "fontFamily")}`;
    context.fillText(character, 2, 32);
    return canvas.toDataURL();
  };

  window.measures = {
    faintText: () => faint(written(), (element) => (element.closest("svg") ? "fill" : "color"), 4.5),
    faintLines: () => faint(all(".line, .mark, .base, .tuned"), () => "stroke", 3),
    smallText: () => all("svg text").filter(shown).map((text) => [parseFloat(style(text, "fontSize")) * text.getScreenCTM().a, text])
      .filter(([size]) => size < 10).map(([size, text]) => `${size.toFixed(1)} px: ${short(text)}`),
    clipped: () => all("figure > svg text").filter(shown).filter((text) => {
      const [part, whole] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
      return part.left < whole.left - 1 || part.right > whole.right + 1 || part.bottom > whole.bottom + 1;
    }).map(short),
    // Past the page's own right edge, or, where the page is printed, past the paper's.
    wide: () => document.scrollingElement.scrollWidth > innerWidth ? [`${document.scrollingElement.scrollWidth} px of ${innerWidth}`] : [],
    cut: () => all("table, figure, pre").filter(shown).filter((part) => part.scrollWidth > part.clientWidth + 1 || part.getBoundingClientRect().right > innerWidth + 1).map(short),
    hidden: () => all(".wide, figure").filter(shown).filter((part) => part.scrollWidth > part.clientWidth + 1).map(short),
    empty: () => all("figure, svg, img, canvas").filter((part) => part.tagName === "IMG" ? !part.naturalWidth : shown(part) && !(part.getBoundingClientRect().width * part.getBoundingClientRect().height)).map(short),
    unnamed: () => all("svg, img, canvas").filter((part) => part.getAttribute("aria-hidden") ? !part.parentElement.textContent.trim() : !(part.getAttribute("aria-label") ?? part.getAttribute("alt"))?.trim())
      .concat(all("figure").filter((figure) => !figure.querySelector("figcaption")?.textContent.trim())).map(short),
    astray: () => all("[href]").map((link) => link.getAttribute("href")).filter((href) => href[0] !== "#" || !document.getElementById(href.slice(1))),
    headless: () => all("table").filter((table) => {
      const head = all("thead th[scope=col]", table).map((cell) => cell.textContent.trim());
      return !head.length || head.includes("") || all("tbody tr", table).some((row) => row.cells.length !== head.length);
    }).map(short),
    // Where a column's cells of one text differ in colour, or a cell without text has one, the colour says what no word does.
    coloured: () => all("table").flatMap((table) => {
      const looks = new Map();
      return all("tbody td", table).filter((cell) => {
        const key = `${cell.cellIndex} ${cell.textContent}`, look = `${style(cell, "color")} ${style(cell, "backgroundColor")}`;
        const bare = !cell.textContent.trim() && !cell.querySelector("[aria-label]") && opaque(style(cell, "backgroundColor"));
        const other = looks.has(key) && looks.get(key) !== look;
        looks.set(key, look);
        return bare || other;
      }).map(short);
    }),
    alike: () => all("figure").flatMap((figure) => {
      const told = keys(figure), made = drawn(figure);
      return new Set(told).size < told.length || told.join() !== made.join() ? [`${short(figure)}: ${told.join(" | ")}; drawn ${made.join(" | ")}`] : [];
    }),
    boxes: () => {
      const characters = [...new Set(document.body.textContent.match(/[\uac00-\ud7a3]/g))], box = bitmap("\u{10fffd}");
      const bitmaps = characters.map(bitmap);
      return characters.filter((_, i) => bitmaps[i] === box || bitmaps.indexOf(bitmaps[i]) !== i);
    },
  };
})();
