// Asks nsfwjs about raw pictures: node benign_nsfwjs.cjs NSFWJS TFJS WASM MODEL LIST. One JSON line for each picture.
// The packages lie unpacked without their dependencies, which the bundled build of tfjs has inside.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");

const [nsfwjsPlace, tfjsPlace, wasmPlace, name, list] = process.argv.slice(2);
const tf = require(path.join(tfjsPlace, "dist/tf.js"));
const load = Module._load;
Module._load = function (asked, ...rest) {
  const ours = asked === "@tensorflow/tfjs" || asked === "@tensorflow/tfjs-core";
  return ours ? tf : load.call(this, asked, ...rest);
};
console.info = console.log = console.warn = () => {}; // standard output is for answers

async function main() {
  const wasm = require(path.join(wasmPlace, "dist/tf-backend-wasm.js"));
  wasm.setWasmPaths(path.join(wasmPlace, "dist") + "/");
  wasm.setThreadsCount(1);
  await tf.setBackend("wasm");
  await tf.ready();
  const nsfwjs = require(path.join(nsfwjsPlace, "dist/cjs/index.js"));
  const model = await nsfwjs.load(name, name === "MobileNetV2Mid" ? { type: "graph" } : undefined);
  for (const { key, file, width, height } of JSON.parse(fs.readFileSync(list, "utf8"))) {
    const pixels = tf.tensor3d(new Uint8Array(fs.readFileSync(file)), [height, width, 3], "int32");
    const [first] = await model.classify(pixels, 5);
    pixels.dispose();
    process.stdout.write(JSON.stringify({ key, first: first.className, probability: first.probability }) + "\n");
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(String(error && error.message ? error.message : error) + "\n");
    process.exit(1);
  },
);
