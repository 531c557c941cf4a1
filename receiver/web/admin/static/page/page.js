"use strict";
// What the library's templates say in handlers and style attributes, which the policy forbids.
(() => {
  const style = (root) => root.querySelectorAll("[data-style]").forEach((element) => {
    element.style.cssText = element.dataset.style;
  });
  style(document);
  document.querySelectorAll("template").forEach((template) => style(template.content));
  document.querySelectorAll("select[data-goes]").forEach((select) =>
    select.addEventListener("change", () => { window.location = select.value; }));
  document.querySelectorAll("[data-applies-columns]").forEach((button) =>
    button.addEventListener("click", () => window.applyColumnVisibility()));
  // A row that leads somewhere does so by the keyboard, too.
  document.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr[data-sa-href]");
    if (event.key === "Enter" && row === event.target) window.location = row.dataset.saHref;
  });

  // The part of the page that says how old it may get is fetched again, while somebody looks.
  const part = document.querySelector("[data-fresh-seconds]");
  if (!part) return;
  const refresh = async () => {
    if (document.hidden) return;
    let answer;
    try {
      answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
    } catch {
      part.classList.add("stale");
      return;
    }
    if (answer.redirected) { window.location.reload(); return; }  // the session is over
    part.classList.toggle("stale", !answer.ok);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh || part.contains(document.activeElement)) return;
    part.replaceChildren(...fresh.childNodes);
    document.dispatchEvent(new Event("page:changed"));
  };
  window.setInterval(refresh, 1000 * Number(part.dataset.freshSeconds));
  document.addEventListener("visibilitychange", refresh);
})();
