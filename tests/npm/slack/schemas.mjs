// Prints JSON Schemas made from Slack's own TypeScript types: node schemas.mjs TYPE… → {TYPE: schema, …}
// One schema a type, since Slack's packages use one name for different shapes in different answers.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const { createFormatter, createParser, createProgram, DEFAULT_CONFIG, SchemaGenerator } = createRequire(
  import.meta.url,
)("ts-json-schema-generator");

const config = {
  ...DEFAULT_CONFIG,
  path: fileURLToPath(new URL("slack.d.ts", import.meta.url)),
  tsconfig: fileURLToPath(new URL("tsconfig.json", import.meta.url)),
  skipTypeCheck: true,
};
const program = createProgram(config);
const schemas = process.argv.slice(2).map((type) => {
  // A parser remembers the types that it met, and leaves them out of the next schema.
  const generator = new SchemaGenerator(program, createParser(program, config), createFormatter(config), config);
  return [type, generator.createSchema(type)];
});
process.stdout.write(JSON.stringify(Object.fromEntries(schemas)));
