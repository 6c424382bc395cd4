/**
 * What a small model was taught, and what it says when it is asked for something else: `self1e.segment.nouns`, which
 * has the reasons.
 * @module
 */

/**
 * @typedef {object} TaughtNouns
 * @property {Record<string, string[]>} words
 * @property {Record<string, string[]>} [near]
 * @property {Record<string, number>} [iou]
 * @property {string[]} [groups]
 * @property {string[]} [others]
 *
 * @typedef {{kind: "unknown" | "near" | "hardly", verb: string, reason: string}} Doubt
 * @typedef {{kind: "taught" | "near" | "other", noun: string}} Known
 */

const HARDLY = 0.2;
const WORD = /[\p{L}\p{N}]+|[,;(]/gu;

const set = (/** @type {string} */ words) => new Set(words.split(" "));
const PUNCTUATION = set(", ; (");
const ARTICLES = set("the a an");
const DETERMINERS = set("the a an this that these those all every each both some any my your his her its their");
const QUANTITIES = set("all both each some any most one pair couple group crowd bunch row herd flock");
const LINKS = set(
  "on in at of off to by from with without near behind beside between under over above below before after against " +
    "along around inside outside through across beyond is are that which who whose wearing holding carrying here there",
);
const LOOSE = set("next left right close closest nearest farthest furthest full asleep away made seen");
const OWN_PLURALS = set("glasses heels");

/**
 * What makes it doubtful whether a noun phrase names something that the model finds; null if nothing does.
 * @param {TaughtNouns} nouns
 * @returns {(text: string) => Doubt | null}
 */
export function doubter(nouns) {
  const known = knownWords(nouns);
  /** @param {string[]} words */
  const named = (words) => {
    const singular = words.map(singularOf);
    for (let at = 0; at < words.length; at++) {
      const found = known.get(singular.slice(at).join(" "));
      if (found) return found;
    }
    return null;
  };
  /** @param {string[]} words */
  const head = (words) => {
    let begun = false;
    for (const [place, word] of words.entries()) {
      const after = words[place + 1];
      const noNoun = after === undefined || LINKS.has(after) || DETERMINERS.has(after);
      const loose = noNoun && isLoose(word) && named(words.slice(0, place + 1)) === null;
      if (begun && (LINKS.has(word) || loose)) return words.slice(0, place);
      begun ||= !DETERMINERS.has(word);
    }
    return words;
  };
  return (text) => {
    for (const words of partsOf(text)) {
      const doubt = doubtOf(named(head(words)), nouns.iou ?? {});
      if (doubt) return doubt;
    }
    return null;
  };
}

/**
 * @param {Known | null} known
 * @param {Record<string, number>} iou
 * @returns {Doubt | null}
 */
function doubtOf(known, iou) {
  if (known === null || known.kind === "other") {
    return { kind: "unknown", verb: "was not taught", reason: "what it finds may be something else" };
  }
  if (known.kind === "near") {
    const reason = `it goes by words that mean nearly the same, such as ${known.noun}`;
    return { kind: "near", verb: "was not taught", reason };
  }
  if ((iou[known.noun] ?? 1) >= HARDLY) return null;
  const percent = Math.round(100 * iou[known.noun]);
  const reason = `on photographs to test it, its masks overlap by ${percent} %`;
  return { kind: "hardly", verb: "hardly finds", reason };
}

/**
 * @param {TaughtNouns} nouns
 * @returns {Map<string, Known>}
 */
function knownWords(nouns) {
  const known = new Map();
  const add = (/** @type {string} */ text, /** @type {Known["kind"]} */ kind, /** @type {string} */ noun) =>
    known.set((text.toLowerCase().match(WORD) ?? []).map(singularOf).join(" "), { kind, noun });
  for (const text of nouns.others ?? []) add(text, "other", text);
  for (const [noun, texts] of Object.entries(nouns.near ?? {})) for (const text of texts) add(text, "near", noun);
  for (const text of nouns.groups ?? []) add(text, "taught", text);
  for (const [noun, texts] of Object.entries(nouns.words)) for (const text of [noun, ...texts]) add(text, "taught", noun);
  return known;
}

/**
 * Words of each noun that is asked for, with what is said of it.
 * @param {string} text
 */
function partsOf(text) {
  const words = (text.toLowerCase().match(WORD) ?? []).filter((word) => word !== "s");
  /** @type {string[][]} */
  const parts = [[]];
  words.forEach((word, place) => {
    const part = parts[parts.length - 1];
    const splits = (word === "and" || word === "or") && ARTICLES.has(words[place + 1] ?? "");
    if (PUNCTUATION.has(word) || splits) parts.push([]);
    else if (word === "of" && QUANTITIES.has(part[part.length - 1] ?? "")) part.length = 0;
    else part.push(word);
  });
  const [first = [], ...more] = parts.filter((part) => part.length);
  return [first, ...more.filter(([word]) => ARTICLES.has(word))];
}

/** @param {string} word */
function isLoose(word) {
  return LOOSE.has(word) || word.endsWith("ing") || word.endsWith("ed");
}

/** @param {string} word */
function singularOf(word) {
  if (OWN_PLURALS.has(word) || !word.endsWith("s") || word.endsWith("ss") || word.endsWith("us")) return word;
  if (word.endsWith("ies") && word.length > 4) return `${word.slice(0, -3)}y`;
  return word.replace(/(?:(?<=[sxz])|(?<=[cs]h))es$|s$/u, "");
}
