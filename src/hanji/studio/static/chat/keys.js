// The dialog that asks for an API key.

import { key } from "../api.js";

const dialog = document.getElementById("key");
const value = document.getElementById("key-value");
const why = document.getElementById("key-why");
let asking = null;

/** Asks for a key, once however many want one; true if there is one now. `isWrong`: the one before was refused. */
export function askForKey(isWrong) {
  asking ??= new Promise((resolve) => {
    why.dataset.text = isWrong ? "key_wrong" : "key_why";
    value.value = "";
    dialog.dispatchEvent(new Event("translate", { bubbles: true }));
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(given()), { once: true });
    dialog.showModal();
  }).finally(() => {
    asking = null;
  });
  return asking;
}

function given() {
  if (dialog.returnValue !== "ok" || !value.value.trim()) return false;
  key.set(value.value.trim());
  value.value = "";
  return true;
}

document.getElementById("key-cancel").addEventListener("click", () => dialog.close("cancel"));
