/**
 * Words to tokens as the `tokenizers` library does it, for the kinds of `tokenizer.json` that our models have: BERT's
 * WordPiece and Qwen2's byte-level BPE. Others are refused.
 *
 * Only its three steps for plain text are here (normaliser, pre-tokeniser, model): none of them makes a special token.
 */

/**
 * @typedef {object} Tokenizer
 * @property {(text: string) => number[]} encode plain text, whatever it contains
 * @property {(content: string) => number} special the id of an added token, "[SEG]" for example
 */

/** @typedef {(word: string) => number[]} Model */

// How Qwen2's tokenizer.json cuts text into words, and the same for JavaScript: its (?i:...) and \s mean less.
const QWEN2_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" +
  "\\s+(?!\\S)|\\s+";
const SPACE = "\\p{White_Space}";
const QWEN2_WORDS_HERE = new RegExp(
  "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" +
    ` ?[^${SPACE}\\p{L}\\p{N}]+[\\r\\n]*|${SPACE}*[\\r\\n]+|${SPACE}+(?!\\P{White_Space})|${SPACE}+`,
  "gu",
);

const BERT_DROPS = /(?![\t\n\r])[\0\ufffd\p{Cc}\p{Cf}\p{Co}]/gu;
const CHINESE =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
const BERT_WORDS = /[!-/:-@[-`{-~\p{P}]|[^!-/:-@[-`{-~\p{P}\p{White_Space}]+/gu;

/**
 * @param {any} json content of a tokenizer.json
 * @returns {Tokenizer}
 */
export function readTokenizer(json) {
  const [normalise, split, model] = [normaliser(json.normalizer), splitter(json.pre_tokenizer), modelOf(json.model)];
  const added = new Map(json.added_tokens.map((/** @type {any} */ token) => [token.content, token.id]));
  return {
    // Half of a surrogate pair, from a badly cut string, is no character.
    encode: (text) => split(normalise(text.replace(/\p{Surrogate}/gu, "?"))).flatMap(model),
    special(content) {
      const id = added.get(content);
      if (id === undefined) throw new Error(`The model's tokenizer has no ${content}: export the model again.`);
      return id;
    },
  };
}

/**
 * @param {any} kind
 * @returns {(text: string) => string}
 */
function normaliser(kind) {
  if (kind === null) return (text) => text;
  if (kind.type === "NFC") return (text) => text.normalize("NFC");
  if (kind.type === "BertNormalizer" && kind.clean_text && kind.handle_chinese_chars && kind.lowercase) {
    if (kind.strip_accents ?? true) return bertNormalised;
  }
  throw unknown("normaliser", kind);
}

/** @param {string} text */
function bertNormalised(text) {
  const plain = text
    .replace(BERT_DROPS, "")
    .replace(/\p{White_Space}/gu, " ")
    .replace(CHINESE, " $& ");
  const bare = plain.normalize("NFD").replace(/\p{Mn}/gu, "");
  return Array.from(bare, (letter) => letter.toLowerCase()).join(""); // one by one: no final sigma
}

/**
 * @param {any} kind
 * @returns {(text: string) => string[]}
 */
function splitter(kind) {
  if (kind?.type === "BertPreTokenizer") return (text) => text.match(BERT_WORDS) ?? [];
  const [words, bytes] = kind?.type === "Sequence" ? kind.pretokenizers : [];
  const isolated = words?.type === "Split" && words.behavior === "Isolated" && !words.invert;
  if (isolated && words.pattern.Regex === QWEN2_WORDS && bytes?.type === "ByteLevel" && !bytes.add_prefix_space) {
    return (text) => (text.match(QWEN2_WORDS_HERE) ?? []).map(byteLetters);
  }
  throw unknown("pre-tokeniser", kind);
}

/** A letter for each byte: printable ones stand for themselves, others for letters from U+0100 on. */
const LETTERS = (() => {
  const printable = (/** @type {number} */ byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

/** @param {string} word */
function byteLetters(word) {
  return Array.from(new TextEncoder().encode(word), (byte) => LETTERS[byte]).join("");
}

/**
 * @param {any} kind
 * @returns {Model}
 */
function modelOf(kind) {
  const settings = ["dropout", "end_of_word_suffix", "byte_fallback", "ignore_merges", "fuse_unk"];
  if (settings.some((name) => kind[name])) throw unknown("model", kind);
  if (kind.type === "WordPiece") return wordPiece(kind);
  if (kind.type === "BPE" && !kind.continuing_subword_prefix) return bytePairs(kind);
  throw unknown("model", kind);
}

/**
 * The longest piece that the vocabulary has, again and again; a word that does not come out even is unknown.
 * @param {any} kind
 * @returns {Model}
 */
function wordPiece(kind) {
  const vocabulary = new Map(Object.entries(kind.vocab));
  const unknownWord = [vocabulary.get(kind.unk_token)];
  return (word) => {
    const letters = [...word];
    if (letters.length > kind.max_input_chars_per_word) return unknownWord;
    const ids = [];
    for (let start = 0, end; start < letters.length; start = end) {
      const before = start > 0 ? kind.continuing_subword_prefix : "";
      for (end = letters.length; end > start; end--) {
        const id = vocabulary.get(before + letters.slice(start, end).join(""));
        if (id !== undefined) {
          ids.push(id);
          break;
        }
      }
      if (end === start) return unknownWord;
    }
    return ids;
  };
}

/**
 * Joins the pair of neighbours that comes first in the list of merges, until none does.
 * @param {any} kind
 * @returns {Model}
 */
function bytePairs(kind) {
  const vocabulary = new Map(Object.entries(kind.vocab));
  /** @type {Map<string, number>} */
  const ranks = new Map(
    kind.merges.map((/** @type {string | string[]} */ pair, /** @type {number} */ rank) => [
      typeof pair === "string" ? pair : pair.join(" "),
      rank,
    ]),
  );
  return (word) => {
    const parts = [...word];
    for (;;) {
      let [best, at] = [Infinity, -1];
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return parts.map((part) => vocabulary.get(part));
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
  };
}

/**
 * @param {string} part
 * @param {any} kind
 */
function unknown(part, kind) {
  const says = JSON.stringify(kind, (key, value) => (key === "vocab" || key === "merges" ? undefined : value));
  return new Error(`This page cannot read words for this model: the ${part} of its tokenizer is ${says}.`);
}
