// Before the page is drawn: scripts run here, and the theme that was chosen last.
document.documentElement.classList.add("scripts");
try {
  const chosen = localStorage.getItem("knnscope-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // a browser that keeps nothing for pages from files
}
