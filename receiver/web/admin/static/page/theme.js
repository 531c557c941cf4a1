"use strict";
// Light or dark, as the system is; run before anything is drawn.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const dress = () => { document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light"; };
dress();
dark.addEventListener("change", () => { dress(); document.dispatchEvent(new Event("page:changed")); });
