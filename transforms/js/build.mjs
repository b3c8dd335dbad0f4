// Makes a component of an ES module: node build.mjs SOURCE WIT OUT
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { join, resolve } from 'node:path';

const [source, wit, out] = process.argv.slice(2);
// From the project's packages, wherever this file stands. The package can only be imported, so its entry is
// looked up by hand.
const home = resolve('node_modules/@bytecodealliance/componentize-js');
const { exports, main } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
const entry = exports?.['.'] ?? exports ?? main;
const { componentize } = await import(pathToFileURL(join(home, entry.import?.default ?? entry.import ?? entry)));
const { component } = await componentize(readFileSync(source, 'utf8'), {
  witPath: wit,
  worldName: 'transform',
  sourceName: source,
  // All that would ask a system for something.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
writeFileSync(out, component);
