// What makes pages nicer where scripts run. Every form works without any of it.
(function () {
  "use strict";

  function ready(root) {
    root.querySelectorAll("[data-copy]").forEach(function (button) { button.hidden = false; });
    root.querySelectorAll("[data-themes]").forEach(function (group) { group.hidden = false; markTheme(group); });
  }

  // Copying: the text stands in the attribute, or in the code of the same block.
  async function copy(button) {
    var block = button.closest(".code-block");
    var text = button.dataset.copy || (block ? block.querySelector("code").textContent : "");
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      if (!copyTheOldWay(text)) { return; }
    }
    var label = button.querySelector("[data-copy-label]") || button;
    var before = label.dataset.before || label.textContent;
    label.dataset.before = before;
    label.textContent = "Copied";
    window.clearTimeout(Number(button.dataset.timer));
    button.dataset.timer = String(window.setTimeout(function () { label.textContent = before; }, 1600));
    say("Copied");
  }

  // The clipboard is for https and loopback only; a plain http address in a local network has this.
  function copyTheOldWay(text) {
    var area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.appendChild(area);
    area.select();
    var done = document.execCommand("copy");
    area.remove();
    return done;
  }

  function say(text) {
    var voice = document.getElementById("voice");
    if (!voice) {
      voice = document.createElement("div");
      voice.id = "voice";
      voice.className = "visually-hidden";
      voice.setAttribute("role", "status");
      document.body.appendChild(voice);
    }
    voice.textContent = text;
  }

  function markTheme(group) {
    group.querySelectorAll("[data-theme-choice]").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === window.licenzyTheme.chosen()));
    });
  }

  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-copy], [data-theme-choice]");
    if (button && button.dataset.copy !== undefined) { copy(button); }
    if (button && button.dataset.themeChoice) {
      window.licenzyTheme.choose(button.dataset.themeChoice);
      document.querySelectorAll("[data-themes]").forEach(markTheme);
    }
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (!menu.contains(event.target)) { menu.open = false; }
    });
  });

  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") { return; }
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
      event.preventDefault(); // The sheet that the menu may stand in stays.
    });
  });

  // "/" goes to the page's first visible search field, unless one is typing.
  document.addEventListener("keydown", function (event) {
    if (event.key !== "/" || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (event.target.closest("input, textarea, select, [contenteditable]")) { return; }
    var fields = Array.from(document.querySelectorAll("[data-search-field]"));
    var field = fields.find(function (each) { return each.getClientRects().length > 0; });
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  });

  // A file that the server would refuse for its size is refused before it is sent.
  document.addEventListener("change", function (event) {
    var most = Number(event.target.dataset && event.target.dataset.mostMegabytes);
    if (!most) { return; }
    var file = event.target.files[0];
    var large = file && file.size > most * 1024 * 1024;
    event.target.setCustomValidity(large ? "The file is larger than " + most + " MB. Split it into smaller files." : "");
    event.target.reportValidity();
  });

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", function (event) {
    if (event.defaultPrevented) { return; }
    var form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    form.classList.add("sending");
  });
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[data-sent]").forEach(function (form) {
      delete form.dataset.sent;
      form.classList.remove("sending");
    });
  });

  // Answers that are refused and not made for this page (a proxy's error page, say) are not swapped in.
  document.addEventListener("htmx:beforeSwap", function (event) {
    var xhr = event.detail.xhr;
    var meant = xhr.status < 400 || xhr.status === 422 || xhr.status === 429 || xhr.getResponseHeader("HX-Retarget");
    if (!meant) {
      event.detail.shouldSwap = false;
      notice("The request failed (" + xhr.status + "). " + whatNow(event), isWrite(event));
    }
  });
  document.addEventListener("htmx:sendError", function (event) {
    notice("No answer arrived. " + whatNow(event), isWrite(event));
  });
  // What an earlier action said is over once something else is done.
  document.addEventListener("htmx:beforeRequest", function (event) {
    var place = document.getElementById("notices");
    if (place && isWrite(event)) { place.replaceChildren(); }
  });
  // A refusal that the server puts above the page.
  document.addEventListener("htmx:afterSwap", function (event) {
    if (event.detail.target.id === "notices" && isWrite(event)) { showNotices(); }
  });

  function isWrite(event) {
    var request = event.detail.requestConfig;
    return !request || request.verb !== "get";
  }

  // Without an answer of our own nobody knows whether a change was made: the server may have handled it.
  function whatNow(event) {
    if (isWrite(event)) { return "Check whether the change was made before you try again."; }
    return "Check your connection and reload the page.";
  }
  document.addEventListener("htmx:load", function (event) { ready(event.target); });

  // Polling must not move the page under someone who reads it; the answer to a button has to be seen.
  function notice(text, intoView) {
    var place = document.getElementById("notices");
    if (!place) { return; }
    var box = document.createElement("div");
    box.className = "callout callout-bad";
    box.setAttribute("role", "alert");
    box.textContent = text;
    place.replaceChildren(box);
    if (intoView) { showNotices(); }
  }

  function showNotices() {
    document.getElementById("notices").scrollIntoView({ block: "nearest" });
  }

  // The page one is on is in sight where the navigation scrolls.
  function showWhereOneIs() {
    var here = document.querySelector(".side-nav [aria-current]");
    if (here) { here.scrollIntoView({ block: "nearest" }); }
  }
  // A sheet of navigation that is open does not stay over a window that was made wide enough for the column.
  function closeSheet() {
    var sheet = document.getElementById("sidebar");
    if (sheet && sheet.hidePopover) { sheet.hidePopover(); }
  }
  window.matchMedia("(min-width: 56.01rem)").addEventListener("change", closeSheet);
  document.addEventListener("toggle", function (event) {
    if (event.target.id === "sidebar" && event.newState === "open") { showWhereOneIs(); }
  }, true);

  ready(document);
  showWhereOneIs();
})();
