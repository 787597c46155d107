// Evaluates one expression a line with npm's jsonata. Functions that Step Functions adds, and $eval, which it lacks:
// https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
const { createHash } = require("node:crypto");
const { createInterface } = require("node:readline");
const jsonata = require("jsonata");

const programs = new Map();

function parsed(expression) {
  if (!programs.has(expression)) {
    const program = jsonata(expression);
    program.assign("eval", undefined);
    program.registerFunction("parse", (text) => JSON.parse(text));
    program.registerFunction("hash", (text, algorithm) =>
      createHash(algorithm.replace("SHA-", "sha")).update(text).digest("hex"));
    program.registerFunction("partition", (items, size) => {
      const parts = [];
      for (let start = 0; start < items.length; start += Math.floor(size)) {
        parts.push(items.slice(start, start + Math.floor(size)));
      }
      return parts;
    });
    program.registerFunction("range", (first, last, step) => {
      const numbers = [];
      for (let number = first; step > 0 ? number <= last : number >= last; number += step) {
        numbers.push(number);
      }
      return numbers;
    });
    programs.set(expression, program);
  }
  return programs.get(expression);
}

async function answer({ expression, variables }) {
  try {
    const value = await parsed(expression).evaluate(undefined, variables);
    return value === undefined ? { undefined: true } : { value };
  } catch (error) {
    return { error: error.code ?? String(error) };
  }
}

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
})();
