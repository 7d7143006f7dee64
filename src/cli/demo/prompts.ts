/** One line of a prompt file. */
export interface DemoPrompt {
  readonly messages: readonly { readonly role: 'user'; readonly content: string }[];
}

const TRAINING_PROMPTS = 256;
const HELD_OUT_PROMPTS = 48;

const objects = ['hammer', 'kettle', 'ladder', 'compass', 'pillow', 'umbrella', 'telescope', 'bicycle', 'candle', 'notebook', 'anchor', 'whistle', 'mirror', 'basket', 'stapler', 'thermometer'];
const animals = ['fox', 'owl', 'dolphin', 'beaver', 'penguin', 'camel', 'bee', 'tortoise', 'otter', 'bat', 'elephant', 'frog', 'salmon', 'squirrel', 'eagle', 'hedgehog'];
const groups = ['fruits', 'kitchen tools', 'musical instruments', 'colours', 'board games', 'trees', 'rivers', 'sports', 'spices', 'metals', 'birds', 'vegetables', 'languages', 'planets', 'fabrics', 'desserts'];
const adjectives = ['hot', 'early', 'narrow', 'brave', 'heavy', 'quiet', 'ancient', 'generous', 'bright', 'smooth', 'empty', 'gentle', 'rapid', 'honest', 'shallow', 'rough'];
const activities = ['baking bread', 'learning the guitar', 'packing a suitcase', 'watering plants', 'cycling in the rain', 'painting a wall', 'writing a letter', 'camping in winter',
  'cleaning windows', 'running a first race', 'brewing tea', 'growing tomatoes', 'taking a photo', 'saving money', 'falling asleep', 'studying for a test'];
const places = ['a library', 'a harbour', 'a bakery', 'a desert', 'a railway station', 'a lighthouse', 'a museum', 'a rainforest', 'a mountain hut', 'a fish market', 'a school', 'a castle',
  'an island', 'an airport', 'a vineyard', 'a glacier'];
const things = ['rain', 'friendship', 'music', 'gravity', 'sleep', 'laughter', 'electricity', 'patience', 'trade', 'memory', 'wind', 'courage', 'soil', 'justice', 'light', 'curiosity'];
const professions = ['a nurse', 'a carpenter', 'a pilot', 'a baker', 'a judge', 'a gardener', 'a librarian', 'a plumber', 'a chemist', 'a tailor', 'a farmer', 'a translator', 'a firefighter', 'a chef',
  'an architect', 'an electrician'];

/** Each asks for an answer of one word to one or two short sentences, so that most answers end before the demo's length limit. */
const templates: readonly { readonly text: (word: string) => string; readonly words: readonly string[] }[] = [
  { text: (word) => `In one short sentence, what is ${withArticle(word)} used for?`, words: objects },
  { text: (word) => `Write one short sentence about ${withArticle(word)} on a shelf.`, words: objects },
  { text: (word) => `Name one material ${withArticle(word)} can be made of. Answer with one word.`, words: objects },
  { text: (word) => `What does ${withArticle(word)} eat? Answer in one short sentence.`, words: animals },
  { text: (word) => `Give one surprising fact about the ${word} in one sentence.`, words: animals },
  { text: (word) => `Where does ${withArticle(word)} live? Answer in a few words.`, words: animals },
  { text: (word) => `List three ${word}, separated by commas.`, words: groups },
  { text: (word) => `Name one of the ${word} you like and say why in one short sentence.`, words: groups },
  { text: (word) => `What is the opposite of "${word}"? Answer with one word.`, words: adjectives },
  { text: (word) => `Use the word "${word}" in one short sentence.`, words: adjectives },
  { text: (word) => `Give one short tip for ${word}.`, words: activities },
  { text: (word) => `What should I have ready before ${word}? Answer in one sentence.`, words: activities },
  { text: (word) => `Describe ${word} in one short sentence.`, words: places },
  { text: (word) => `Name one thing a visitor hears in ${word}. Answer in a few words.`, words: places },
  { text: (word) => `Explain ${word} to a child in one sentence.`, words: things },
  { text: (word) => `Complete the sentence: "${word[0].toUpperCase()}${word.slice(1)} is important because"`, words: things },
  { text: (word) => `What does ${word} do at work? Answer in one short sentence.`, words: professions },
  { text: (word) => `Name two tools of ${word}.`, words: professions },
  { text: (word) => `Write a polite one-sentence greeting from ${word}.`, words: professions },
];

/**
 * The demo's prompts: every template with every word, dealt in a fixed order so that both files hold every template and no prompt stands in both.
 * @returns 256 training prompts and 48 held-out ones, always the same.
 */
export function demoPrompts(): { readonly train: readonly DemoPrompt[]; readonly heldOut: readonly DemoPrompt[] } {
  const wordsEach = templates[0].words.length;
  const dealt: DemoPrompt[] = [];
  for (let round = 0; round < wordsEach; round++) {
    // Each template starts at a word of its own, so that a round does not ask nineteen questions about the same list positions.
    templates.forEach(({ text, words }, index) => dealt.push({ messages: [{ role: 'user', content: text(words[(round + 5 * index) % words.length]) }] }));
  }
  return { train: dealt.slice(0, TRAINING_PROMPTS), heldOut: dealt.slice(TRAINING_PROMPTS, TRAINING_PROMPTS + HELD_OUT_PROMPTS) };
}

function withArticle(word: string): string {
  return `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`;
}

/** One JSON object a line, as a job's `training_file` holds it. */
export function promptLines(prompts: readonly DemoPrompt[]): string {
  return prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join('');
}
