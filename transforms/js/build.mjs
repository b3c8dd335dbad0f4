// Makes a component of an ES module: node build.mjs SOURCE WIT OUT
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';

const [source, wit, out] = process.argv.slice(2);
// From the project's packages, wherever this file stands.
const packages = createRequire(pathToFileURL(resolve('package.json')));
const found = packages.resolve('@bytecodealliance/componentize-js');
const { componentize } = await import(pathToFileURL(found));
const { component } = await componentize(readFileSync(source, 'utf8'), {
  witPath: wit,
  worldName: 'transform',
  sourceName: source,
  // All that would ask a system for something.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
writeFileSync(out, component);
