// Before anything is painted: the theme and the language that were chosen here, or the browser's own.
(() => {
  const kept = (name) => {
    try {
      return localStorage.getItem(`hanji.${name}`);
    } catch {
      return null; // storage may be forbidden; the page works without
    }
  };
  const root = document.documentElement;
  const theme = kept("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const wanted = [kept("language"), ...navigator.languages].map((name) => (name ?? "").slice(0, 2));
  root.lang = wanted.find((name) => name === "ko" || name === "en") ?? "en";
})();
