// The search page: finds sections, words of the glossary and names of the module in sections.js.
"use strict";

(() => {
  const { sections } = window.normtutorial;
  const glossary = sections.filter(record => record.kind === "word");
  const MOST = 30;

  const escaped = text => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  // Matches any of some spellings: as words of their own, also in the plural or with an index, or anywhere.
  function pattern(spellings, whole) {
    const any = spellings.map(escaped).join("|");
    return whole
      ? new RegExp(`(?<![\\p{L}\\p{N}_])(?:${any})(?:e?s)?(?![\\p{L}\\p{N}]|(?<![α-ω])_)`, "giu")
      : new RegExp(`(?:${any})`, "giu");
  }

  const same = (a, b) => a.toLowerCase() === b.toLowerCase();

  const isTyped = (spelling, typed) => same(spelling, typed) || same(`${spelling}s`, typed);

  // The word of the glossary that something typed is a spelling of.
  const wordOf = typed => glossary.find(word => word.spellings.some(one => isTyped(one, typed)));

  // What is asked for: the query as one word of the glossary, else each of its words.
  function terms(query) {
    const typed = wordOf(query) ? [query] : query.split(/\s+/);
    return typed.map(one => {
      const word = wordOf(one);
      if (!word) return { spellings: [one] };
      // Who asks for γ does not ask for every "scale".
      return { spellings: word.spellings.filter(s => isTyped(s, one) || !word.everyday.includes(s)), word };
    });
  }

  const count = (text, regexp) => (text ? (text.match(regexp) || []).length : 0);

  // How well a record fits one term; 0 if the term is not in it.
  function fit(record, { spellings, word }, whole) {
    const regexp = pattern(spellings, whole);
    const name = record.kind === "name" ? record.title.split(".").pop() : record.title;
    let points = Math.min(count(record.text, regexp), 12);
    if (count([record.title, ...(record.spellings || [])].join(", "), regexp)) points += 10;
    if (count(record.code, regexp)) points += 1;
    if (spellings.some(one => same(one, name))) points += 40;
    if (record === word) points += 1000;
    if (word && word.explained.includes(record.url)) points += 500 - 20 * word.explained.indexOf(record.url);
    return points;
  }

  function ranked(query, whole) {
    const asked = terms(query);
    return sections
      .map(record => ({ record, points: asked.map(term => fit(record, term, whole)) }))
      .filter(({ points }) => points.every(one => one > 0))
      .map(({ record, points }) => {
        const title = same(record.title, query) ? 100 : 0;
        return { record, points: points.reduce((a, b) => a + b, title) };
      })
      .sort((a, b) => b.points - a.points)
      .map(({ record }) => record);
  }

  function element(tag, content, className) {
    const made = document.createElement(tag);
    made.append(...[content].flat());
    if (className) made.className = className;
    return made;
  }

  // A piece of the text around the first match, with every match marked.
  function excerpt(text, regexp) {
    const first = text.search(regexp);
    const from = first < 90 ? 0 : text.indexOf(" ", first - 80) + 1;
    const piece = text.slice(from, from + 220).replace(/\s\S*$/, text.length > from + 220 ? " …" : "$&");
    const parts = [from ? "… " : ""];
    let end = 0;
    for (const match of piece.matchAll(regexp)) {
      parts.push(piece.slice(end, match.index), element("mark", match[0]));
      end = match.index + match[0].length;
    }
    return [...parts, piece.slice(end)];
  }

  function result(record, regexp) {
    const link = element("a", record.kind === "word" ? record.spellings.join(", ") : record.title);
    link.href = record.url;
    const item = element("li", link);
    if (record.page !== record.title) item.append(element("span", record.page, "search-page"));
    if (record.text) item.append(element("p", excerpt(record.text, regexp)));
    return item;
  }

  function show(query) {
    const list = document.getElementById("search-results");
    const status = document.getElementById("search-status");
    list.replaceChildren();
    status.textContent = "";
    if (!query) return;
    let whole = true;
    let found = ranked(query, whole);
    if (!found.length) found = ranked(query, (whole = false));
    const regexp = pattern(terms(query).flatMap(term => term.spellings), whole);
    list.append(...found.slice(0, MOST).map(record => result(record, regexp)));
    const places = found.length === 1 ? "One place" : `${found.length || "No"} places`;
    status.textContent = `${places} for “${query}”${found.length > MOST ? `, the best ${MOST} here` : ""}.`;
  }

  const field = document.querySelector(".bd-search-container input[name=q]");
  field.value = (new URLSearchParams(location.search).get("q") || "").trim();
  field.addEventListener("input", () => show(field.value.trim()));
  show(field.value);
  field.focus();
})();
