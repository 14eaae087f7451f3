(() => {
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const byId = (id) => document.getElementById(id);

  // light and dark: the system decides until somebody says otherwise
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = getComputedStyle(root).colorScheme.includes("dark");
    root.dataset.theme = dark ? "light" : "dark";
  });

  // a click on a place copies `path:line`
  document.addEventListener("click", (event) => {
    const place = event.target.closest(".place");
    if (place && navigator.clipboard) navigator.clipboard.writeText(place.dataset.place || place.textContent.trim());
  });

  // one root at a time in the plan and in what it speaks of
  all("[data-switch]").forEach((tab) => tab.addEventListener("click", () => {
    const section = tab.closest("section");
    all("[data-switch]", section).forEach((each) => each.setAttribute("aria-pressed", String(each === tab)));
    all("[data-root]", section).forEach((part) => { part.hidden = part.dataset.root !== tab.dataset.switch; });
  }));
  all("[data-first]").forEach((tab) => tab.click());

  // the findings: filtered here, so that the page is whole without any of this
  const rows = all("#findings tbody tr");
  const state = { fix: true, improve: true, note: false };
  const step = 60;
  let shown = step;
  const apply = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value;
    const root = byId("root").value;
    let fitting = 0;
    for (const row of rows) {
      const fits = state[row.dataset.severity] && (!kind || row.dataset.kind === kind) && (!root || row.dataset.in === root)
        && words.every((word) => row.textContent.toLowerCase().includes(word));
      fitting += fits;
      row.hidden = !fits || fitting > shown;
    }
    byId("count").textContent = fitting > shown ? `${shown} of ${fitting}` : `${fitting}`;
    byId("more").hidden = fitting <= shown;
  };
  const restart = () => { shown = step; apply(); };
  all("[data-severity-tab]").forEach((tab) => tab.addEventListener("click", () => {
    const name = tab.dataset.severityTab;
    state[name] = !state[name];
    tab.setAttribute("aria-pressed", String(state[name]));
    restart();
  }));
  ["search", "kind", "root"].forEach((id) => byId(id).addEventListener("input", restart));
  byId("more").addEventListener("click", () => { shown += 10 * step; apply(); });
  byId("more").hidden = false;
  apply();

  // the moment under the pointer
  const stage = byId("stage");
  if (!stage) return;
  const points = JSON.parse(byId("points").textContent);
  const svg = stage.querySelector("svg");
  const [cross, dot, tip] = [byId("cross"), byId("cross-dot"), byId("tip")];
  const hide = () => [cross, dot, tip].forEach((each) => each.setAttribute("hidden", ""));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const nearest = points.reduce((best, each) => (Math.abs(each[0] - x) < Math.abs(best[0] - x) ? each : best));
    cross.setAttribute("x1", nearest[0]); cross.setAttribute("x2", nearest[0]);
    dot.setAttribute("cx", nearest[0]); dot.setAttribute("cy", nearest[1]);
    tip.textContent = `${nearest[2].toFixed(1)} s · ${nearest[3].toLocaleString("en")} ended`;
    tip.style.left = `${svg.offsetLeft + stage.clientLeft + nearest[0] / scale + 18}px`;
    tip.style.top = `${18 + nearest[1] / scale}px`;
    [cross, dot, tip].forEach((each) => each.removeAttribute("hidden"));
  });
  svg.addEventListener("pointerleave", hide);
})();
