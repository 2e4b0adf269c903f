// The page around the map: the order of the cards, the enlarged picture, the section one is in.

const page = document.documentElement;
const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
window.addEventListener("error", (event) => { page.dataset.error = String(event.message); });

for (const element of all(".needs-script")) element.hidden = false;

// --- The order of the cards: the first ones stay in view, the rest is folded away.

const cards = all(".card");
const numberOf = (card, key) => Number(card.dataset[key]);
const orders = {
  size: (a, b) => numberOf(b, "size") - numberOf(a, "size") || numberOf(a, "cluster") - numberOf(b, "cluster"),
  confidence: (a, b) => numberOf(b, "confidence") - numberOf(a, "confidence"),
  cluster: (a, b) => numberOf(a, "cluster") - numberOf(b, "cluster"),
};

function sortCards(key) {
  const open = document.getElementById("cards");
  const folded = document.getElementById("folded");
  const room = open.children.length;
  cards.sort(orders[key]);
  open.replaceChildren(...cards.slice(0, room));
  if (folded) folded.replaceChildren(...cards.slice(room));
}

function press(buttons, pressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
}

const sorters = all("[data-sort]");
for (const button of sorters) {
  button.addEventListener("click", () => { sortCards(button.dataset.sort); press(sorters, button); });
}

// --- The enlarged picture with its name, used by the cards and by the map.

const tip = {
  box: document.getElementById("tip"),
  image: document.querySelector("#tip img"),
  canvas: document.querySelector("#tip canvas"),
  name: document.querySelector("#tip b"),
  detail: document.querySelector("#tip span"),

  show(x, y, name, detail, picture) {
    this.name.textContent = name;
    this.detail.textContent = detail;
    this.image.hidden = !(picture instanceof HTMLImageElement);
    this.canvas.hidden = picture !== this.canvas;
    if (!this.image.hidden) this.image.src = picture.src;
    this.box.hidden = false;
    this.place(x, y);
  },
  place(x, y) {
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const right = x + 18 + width < page.clientWidth - 6 ? x + 18 : x - 18 - width;
    const below = y + 14 + height < window.innerHeight - 6 ? y + 14 : y - 14 - height;
    const left = Math.min(Math.max(6, right), page.clientWidth - width - 6);
    const top = Math.min(Math.max(6, below), window.innerHeight - height - 6);
    this.box.style.transform = `translate(${Math.round(left + window.scrollX)}px, ${Math.round(top + window.scrollY)}px)`;
  },
  hide() { this.box.hidden = true; },
};

function showPicture(event) {
  const image = event.target;
  if (!(image instanceof HTMLImageElement) || !image.closest(".grid")) return tip.hide();
  return tip.show(event.clientX, event.clientY, image.alt, image.dataset.hint, image);
}

const clusters = document.getElementById("clusters");
if (clusters) {
  for (const image of all(".grid img", clusters)) image.removeAttribute("title"); // the enlarged picture says it better
  clusters.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") showPicture(event); });
  clusters.addEventListener("pointerleave", () => tip.hide());
  clusters.addEventListener("click", showPicture);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hide(); });

// --- The section one is in.

const links = all(".sections a");
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) for (const link of links) link.classList.toggle("here", link.hash === `#${entry.target.id}`);
  }
}, { rootMargin: "-30% 0px -65% 0px" });
for (const section of all("main > section")) seen.observe(section);
