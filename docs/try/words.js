/**
 * What is said to the model behind the picture: as `self1e.processing.prompts` and `tokens` make it, and
 * `self1e.engines.words` lays it out for the second program of an exported model.
 *
 * What people write is plain text all the way: "[SEG]" in a question talks about these characters.
 */

/** @import {Tokenizer} from "./tokenizer.js" */

// Python's ideas of a letter and of a space, which are not those of JavaScript's \b, \s and trim.
const LETTER = "\\p{L}\\p{N}_";
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WORD_ENDS = `(?![${LETTER}])`;
const SPACES_AROUND = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");

const OPENS_SENTENCE = new RegExp(
  `^(?:(?:what|which|who|whom|whose|where|when|why|how|please)${WORD_ENDS}` +
    `|(?:is|are|was|were|do|does|did|can|could|will|would|should)[${SPACE}]+` +
    `(?:i|you|we|they|he|she|it|there|this|that|the)${WORD_ENDS}` +
    `|(?:segment|find|locate|identify|detect|highlight|select|choose|outline|mark|point|pick|show|give|tell)` +
    `[${SPACE}]+(?:me|us|the|a|an|all|every|each|any|out|at|to)${WORD_ENDS})`,
  "iu",
);
const ENDS_SENTENCE = /[.?!。？！]["'”’)]*$/u;

export const EMPTY = "The prompt is empty: say what to find, for example “the dog on the left”.";

/** @param {string} text */
export function strip(text) {
  return text.replace(SPACES_AROUND, "");
}

/**
 * Whether a prompt is a sentence rather than a noun phrase.
 * @param {string} prompt
 */
export function readsAsSentence(prompt) {
  const text = strip(prompt);
  return ENDS_SENTENCE.test(text) || OPENS_SENTENCE.test(text);
}

/**
 * What the model is asked for a prompt as people type it.
 * @param {string} prompt
 * @param {{phrase: string, sentence: string}} questions with these words in braces
 */
export function questionFor(prompt, questions) {
  const text = strip(prompt);
  if (!text) throw new Error(EMPTY);
  const kind = readsAsSentence(text) ? "sentence" : "phrase";
  return questions[kind].replace(`{${kind}}`, () => text);
}

/**
 * The tokens behind those of the picture: its end, the question, and the answer up to its `[SEG]`, behind which nothing
 * changes the mask.
 * @param {Tokenizer} tokenizer
 * @param {string} question
 */
export function tokensOf({ special, encode }, question) {
  return [
    ...[special("</img>"), ...encode(`\n${question}`), special("<|im_end|>"), ...encode("\n")],
    ...[special("<|im_start|>"), ...encode("assistant\n"), special("[SEG]")],
  ];
}

/**
 * Words for the second program, in one row; `marks` are the places before each `[SEG]`.
 * @typedef {{words: Int32Array, positions: Int32Array, conversations: Int32Array, marks: Int32Array}} Words
 */

/**
 * Several questions about one picture, as conversations 1, 2, ... behind the words that all of them begin with. A
 * single one is conversation 0.
 * @param {number[][]} questions tokens of each, from `tokensOf`
 * @param {number} before tokens before these words, those of the picture among them
 * @returns {Words}
 */
export function pack(questions, before) {
  const [first] = questions;
  const shortest = Math.min(...questions.map((tokens) => tokens.length));
  let common = 0; // what is left of each question has its [SEG] and the token that predicts it
  while (common < shortest - 2 && questions.every((tokens) => tokens[common] === first[common])) common++;
  const [words, positions, conversations, marks] = [[], [], [], []].map((empty) => /** @type {number[]} */ (empty));
  const add = (/** @type {number[]} */ tokens, /** @type {number} */ start, /** @type {number} */ conversation) =>
    tokens.forEach((token, place) => {
      words.push(token);
      positions.push(before + start + place);
      conversations.push(conversation);
    });
  add(first.slice(0, common), 0, 0);
  questions.forEach((tokens, number) => {
    add(tokens.slice(common), common, questions.length > 1 ? number + 1 : 0);
    marks.push(words.length - 2);
  });
  const [w, p, c, m] = [words, positions, conversations, marks].map((each) => Int32Array.from(each));
  return { words: w, positions: p, conversations: c, marks: m };
}
