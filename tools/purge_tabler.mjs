// Reduces a stylesheet to the rules that the pages can use, and lists the classes it had:
// node purge_tabler.mjs ROOT STYLESHEET REDUCED CLASSES
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { PurgeCSS } from "purgecss";

const [root, stylesheet, reduced, classList] = process.argv.slice(2);
const words = (text) => text.match(/[A-Za-z0-9_-]+/g) ?? [];
// Python writes few classes, and nearly every word of Tabler's as a word.
const classes = (text) => [...text.matchAll(/class="([^"{]*)/g)].flatMap((found) => words(found[1]));
const styles = `${root}/static/css/`;
const own = readdirSync(styles).filter((name) => name.endsWith(".css")).map((name) => readFileSync(styles + name, "utf8")).join("");

const [purged] = await new PurgeCSS().purge({
  content: [`${root}/templates/**/*.html`, `${root}/licenzy/portal/**/*.py`, `${root}/static/js/*.js`],
  css: [stylesheet],
  extractors: [
    { extensions: ["py"], extractor: classes },
    { extensions: ["html", "js"], extractor: words },
  ],
  fontFace: true,
  keyframes: true,
  variables: true,
  // Our stylesheets read and set some of Tabler's custom properties.
  safelist: { variables: [...new Set(own.match(/--tblr-[a-z0-9-]+/g))] },
});
writeFileSync(reduced, purged.css.trimEnd() + "\n");

const named = readFileSync(stylesheet, "utf8").match(/\.[A-Za-z_][A-Za-z0-9_-]*/g);
writeFileSync(classList, [...new Set(named)].map((each) => each.slice(1)).sort().join("\n") + "\n");
