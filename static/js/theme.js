// Loaded in the head and blocking on purpose: the page must know its colours before it is painted.
(function () {
  document.documentElement.dataset.scripts = ""; // Styles hide what only scripts do, and what stands in for it.
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try { return localStorage.getItem("licenzy-theme") || "auto"; } catch (error) { return "auto"; }
  }
  function apply() {
    var theme = chosen();
    var effective = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
    document.documentElement.setAttribute("data-bs-theme", effective);
  }
  apply();
  dark.addEventListener("change", apply);
  window.licenzyTheme = {
    chosen: chosen,
    choose: function (theme) {
      try { localStorage.setItem("licenzy-theme", theme); } catch (error) { /* Private windows keep nothing. */ }
      apply();
    },
  };
})();
