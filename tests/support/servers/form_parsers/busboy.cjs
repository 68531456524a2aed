// Reads forms by Node's busboy, or by the one of Fastify that Misskey has: a line of JSON for each, and one in answer.
const { createHash } = require('node:crypto');
const { createInterface } = require('node:readline');

const Parser = process.argv[2] === 'busboy' ? require('busboy') : require('@fastify/busboy');

function read(type, body) {
  return new Promise((resolve) => {
    const files = [];
    let parser;
    try {
      const given = { headers: { 'content-type': type } };
      parser = process.argv[2] === 'busboy' ? Parser(given) : new Parser.Busboy(given);
    } catch (error) {
      resolve({ files, refused: String(error) });
      return;
    }
    parser.on('file', (_name, stream) => {
      const hash = createHash('sha256');
      stream.on('data', (piece) => hash.update(piece));
      stream.on('error', () => {});
      stream.on('end', () => files.push(hash.digest('hex')));
    });
    parser.on('error', (error) => resolve({ files, refused: String(error) }));
    for (const ended of ['close', 'finish']) parser.on(ended, () => resolve({ files }));
    parser.end(body);
  });
}

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    const said = await read(Buffer.from(asked.type, 'base64').toString('latin1'), Buffer.from(asked.body, 'base64'));
    process.stdout.write(`${JSON.stringify(said)}\n`);
  }
})();
