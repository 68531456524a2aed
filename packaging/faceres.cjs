// What TensorFlow.js itself makes of raw pictures (224x224 RGB bytes) by the package's own files:
// node faceres.cjs TFJS WASM GRAPH NUMBERS PICTURE... One JSON line of 100 chances for each picture.
"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");

const [tfjsPlace, wasmPlace, graph, numbers, ...pictures] = process.argv.slice(2);
const tf = require(path.join(tfjsPlace, "dist/tf.js"));
const load = Module._load;
Module._load = function (asked, ...rest) {
  return asked === "@tensorflow/tfjs-core" ? tf : load.call(this, asked, ...rest); // it is in the bundled build
};
console.info = console.log = console.warn = () => {}; // standard output is for answers

async function main() {
  const wasm = require(path.join(wasmPlace, "dist/tf-backend-wasm.js"));
  wasm.setWasmPaths(path.join(wasmPlace, "dist") + "/");
  wasm.setThreadsCount(1);
  await tf.setBackend("wasm");
  await tf.ready();
  const { modelTopology, weightsManifest } = JSON.parse(fs.readFileSync(graph, "utf8"));
  const data = fs.readFileSync(numbers);
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  const model = await tf.loadGraphModel(
    tf.io.fromMemory({ modelTopology, weightSpecs: weightsManifest[0].weights, weightData }),
  );
  for (const picture of pictures) {
    const rgb = tf.tensor4d(new Uint8Array(fs.readFileSync(picture)), [1, 224, 224, 3], "int32").toFloat();
    const input = tf.sub(tf.reverse(rgb, 3), tf.tensor1d([103.939, 116.779, 123.68]));
    const ages = model.execute(input, "age_pred/Softmax");
    process.stdout.write(JSON.stringify(Array.from(await ages.data())) + "\n");
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(String(error && error.message ? error.message : error) + "\n");
    process.exit(1);
  },
);
