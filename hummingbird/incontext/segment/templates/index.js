"use strict";
const leaves = JSON.parse(document.getElementById("leaves").textContent);
const at = (id) => document.getElementById(id);
const opacity = at("opacity"), number = at("number"), picture = at("picture"), painted = at("painted"), video = at("video");
let now = 0, shown = true;

function setOpacity() {
  painted.style.opacity = shown ? opacity.value / 100 : 0;
}

function show(index) {
  if (!leaves.length) return;
  now = (index + leaves.length) % leaves.length;
  const leaf = leaves[now], moving = leaf.video !== "";
  picture.hidden = painted.hidden = moving || leaf.picture === "";
  video.hidden = !moving;
  if (moving) {
    video.src = leaf.video;
  } else {
    video.pause();
    video.removeAttribute("src");
    picture.src = leaf.picture;
    painted.src = leaf.painted;
    picture.alt = leaf.name;
  }
  at("name").textContent = leaf.name;
  at("note").textContent = leaf.note;
  number.value = now + 1;
  const areas = new Map(leaf.areas.map(([name, , share]) => [name, share]));
  for (const row of at("legend").rows) {
    const share = areas.get(row.dataset.name);
    row.classList.toggle("absent", share === undefined);
    row.querySelector(".share").textContent = share === undefined ? "" : share.toFixed(1) + " %";
  }
  for (const step of [1, -1]) {  // so that leafing does not wait for the disk
    const next = leaves[(now + step + leaves.length) % leaves.length];
    for (const address of [next.picture, next.painted]) if (address) new Image().src = address;
  }
  history.replaceState(null, "", "#" + (now + 1));
}

at("previous").onclick = () => show(now - 1);
at("next").onclick = () => show(now + 1);
number.onchange = () => show(Math.min(Math.max(1, number.value | 0), leaves.length) - 1);
opacity.oninput = setOpacity;
document.onkeydown = (event) => {
  if (event.target === number || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  if (event.key in steps) show(now + steps[event.key]);
  else if (event.key === "Home") show(0);
  else if (event.key === "End") show(leaves.length - 1);
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    opacity.value = +opacity.value + (event.key === "ArrowUp" ? 10 : -10);
    setOpacity();
  } else if (event.key === " ") {
    shown = !shown;
    setOpacity();
  } else return;
  event.preventDefault();
};

number.max = leaves.length;
at("of").textContent = "of " + leaves.length;
setOpacity();
show(Math.min(Math.max(1, location.hash.slice(1) | 0), leaves.length || 1) - 1);
