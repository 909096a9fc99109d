// Forms that are sent with an answer of a passkey. Without scripts, or where the browser has none, they stay hidden.
(function () {
  "use strict";

  function bytes(text) {
    var plain = window.atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, function (char) { return char.charCodeAt(0); });
  }

  function base64url(buffer) {
    var plain = Array.from(new Uint8Array(buffer), function (byte) { return String.fromCharCode(byte); }).join("");
    return window.btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function withIds(list) {
    return (list || []).map(function (each) { return Object.assign({}, each, { id: bytes(each.id) }); });
  }

  async function options(form) {
    var answer = await window.fetch(form.dataset.options, {
      method: "POST",
      redirect: "error",
      headers: { "X-CSRFToken": form.elements.csrf_token.value, "Accept": "application/json" },
    });
    var read = await answer.json();
    if (!answer.ok) { throw new Error(read.message); }
    return read;
  }

  async function created(read) {
    var user = Object.assign({}, read.user, { id: bytes(read.user.id) });
    var made = await navigator.credentials.create({ publicKey: Object.assign({}, read, {
      challenge: bytes(read.challenge), user: user, excludeCredentials: withIds(read.excludeCredentials),
    }) });
    return answered(made, {
      attestationObject: base64url(made.response.attestationObject),
      transports: made.response.getTransports ? made.response.getTransports() : [],
    });
  }

  async function used(read) {
    var found = await navigator.credentials.get({ publicKey: Object.assign({}, read, {
      challenge: bytes(read.challenge), allowCredentials: withIds(read.allowCredentials),
    }) });
    return answered(found, {
      authenticatorData: base64url(found.response.authenticatorData),
      signature: base64url(found.response.signature),
      userHandle: found.response.userHandle ? base64url(found.response.userHandle) : null,
    });
  }

  function answered(credential, response) {
    response.clientDataJSON = base64url(credential.response.clientDataJSON);
    return {
      id: credential.id, rawId: base64url(credential.rawId), type: credential.type,
      clientExtensionResults: credential.getClientExtensionResults(), response: response,
    };
  }

  function problem(error) {
    if (error.name === "NotAllowedError") { return "No passkey was given. Try again, or use another way."; }
    if (error.name === "InvalidStateError") { return "This device already has a passkey for your account."; }
    if (error.name === "TypeError") { return "No answer arrived. Reload the page and try again."; }
    return error.message || "The browser could not use a passkey.";
  }

  function prepare(form) {
    form.hidden = false;
    form.addEventListener("submit", async function (event) {
      event.preventDefault();
      if (form.dataset.asking) { return; }
      form.dataset.asking = "1";
      var place = form.querySelector("[data-passkey-problem]");
      place.hidden = true;
      try {
        var read = await options(form);
        var answer = form.dataset.passkey === "create" ? await created(read) : await used(read);
        form.elements.credential.value = JSON.stringify(answer);
        form.submit();
      } catch (error) {
        place.textContent = problem(error);
        place.hidden = false;
      }
      delete form.dataset.asking;
    });
  }

  if (!window.PublicKeyCredential) { return; }
  document.querySelectorAll("form[data-passkey]").forEach(prepare);
  document.querySelectorAll("[data-without-passkeys]").forEach(function (each) { each.hidden = true; });
})();
